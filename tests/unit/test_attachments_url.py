"""Which attachment URLs may be asked: a table of honest ones and a longer one of hostile ones."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.attachments.url import REFUSALS, CheckedUrl, UrlRefused, check_url
from ecproc.config import AttachmentsConfig

HOSTS = AttachmentsConfig().allowed_hosts
LOCAL = (*HOSTS, "127.0.0.1", "localhost", "[::1]")
BUCKET = "bucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        (f"https://{BUCKET}/a.jpg?X-Amz-Date=1&x=%2F%2f", BUCKET, "/a.jpg?X-Amz-Date=1&x=%2F%2f"),
        (f"https://{BUCKET}", BUCKET, "/"),
        (f"https://{BUCKET}?a=b", BUCKET, "/?a=b"),
        (f"HTTPS://{BUCKET.upper()}/A", BUCKET, "/A"),
        (f"https://{BUCKET}:443/a", BUCKET, "/a"),
        (f"https://{BUCKET}./a", BUCKET, "/a"),
        (f"https://{BUCKET}/a/../b", BUCKET, "/a/../b"),
        (f"https://{BUCKET}/user@host", BUCKET, "/user@host"),
        ("https://my_old-bucket.s3.us-west-1.amazonaws.com/a", "my_old-bucket.s3.us-west-1.amazonaws.com", "/a"),
    ],
)
def test_honest_url_is_taken_apart_and_its_target_left_as_it_is(url: str, host: str, target: str) -> None:
    assert check_url(url, HOSTS) == CheckedUrl("https", host, 443, target)


@pytest.mark.requirement("R137")
def test_the_guides_urls_pass(guide_message: Callable[[str], bytes]) -> None:
    url = json.loads(guide_message("incident-attachment"))["Body"]["attachment"]
    checked = check_url(url, HOSTS)
    assert isinstance(checked, CheckedUrl)
    assert checked.host == "envxsn2gdev1outbound-bucket.s3.us-west-1.amazonaws.com"
    assert url.endswith(checked.target)


HOSTILE = [
    # other schemes
    ("", "scheme"),
    ("/a.jpg", "scheme"),
    (f"//{BUCKET}/a", "scheme"),
    (f"http://{BUCKET}/a", "scheme"),
    (f"ftp://{BUCKET}/a", "scheme"),
    ("file:///etc/passwd", "scheme"),
    ("gopher://127.0.0.1:6379/_FLUSHALL", "scheme"),
    (f"https:/{BUCKET}/a", "scheme"),
    (f"https:{BUCKET}/a", "scheme"),
    ("javascript:alert(1)", "scheme"),
    # another port
    (f"https://{BUCKET}:22/a", "port"),
    (f"https://{BUCKET}:80/a", "port"),
    (f"https://{BUCKET}:8443/a", "port"),
    (f"https://{BUCKET}:0/a", "port"),
    (f"https://{BUCKET}:99999/a", "port"),
    (f"https://{BUCKET}:/a", "host"),
    (f"https://{BUCKET}:443:443/a", "host"),
    (f"https://{BUCKET}:4\u06643/a", "characters"),
    (f"https://{BUCKET}:+443/a", "host"),
    # somebody else's host
    ("https://example.com/a", "not_allowed"),
    ("https://s3.amazonaws.com/bucket/a", "not_allowed"),
    ("https://amazonaws.com/a", "not_allowed"),
    ("https://a.b.s3.amazonaws.com/a", "not_allowed"),
    (f"https://{BUCKET}.evil.example/a", "not_allowed"),
    ("https://bucket.s3.amazonaws.com.evil.example/a", "not_allowed"),
    ("https://bucket-s3.amazonaws.com/a", "not_allowed"),
    ("https://bucket.s3xamazonaws.com/a", "not_allowed"),
    (f"https://evil.example/{BUCKET}", "not_allowed"),
    (f"https://evil.example?{BUCKET}", "not_allowed"),
    (f"https://{BUCKET}../a", "host"),
    ("https://.s3.amazonaws.com/a", "host"),
    ("https:///a", "host"),
    ("https://-bucket.s3.amazonaws.com/a", "host"),
    (f"https://{'a' * 64}.s3.amazonaws.com/a", "host"),
    (f"https://{'a.' * 130}s3.amazonaws.com/a", "host"),
    ("https://metadata.google.internal/computeMetadata/v1/", "not_allowed"),
    # user names, fragments, backslashes
    (f"https://evil.example@{BUCKET}/a", "userinfo"),
    (f"https://{BUCKET}@evil.example/a", "userinfo"),
    (f"https://{BUCKET}:443@evil.example/a", "userinfo"),
    (f"https://{BUCKET}%40evil.example/a", "host"),
    (f"https://evil.example#@{BUCKET}/a", "fragment"),
    (f"https://{BUCKET}#/a", "fragment"),
    (f"https://{BUCKET}/a#frag", "fragment"),
    (f"https://evil.example\\@{BUCKET}/a", "characters"),
    (f"https://{BUCKET}\\.evil.example/a", "characters"),
    (f"https:\\\\{BUCKET}/a", "characters"),
    # control characters, spaces, broken escapes
    (f" https://{BUCKET}/a", "characters"),
    (f"https://{BUCKET}/a b", "characters"),
    (f"https://{BUCKET}/a\r\nx-api-key: 1", "characters"),
    (f"https://{BUCKET}/a\n", "characters"),
    (f"ht\ttps://{BUCKET}/a", "characters"),
    (f"https://{BUCKET}\x00.evil.example/a", "characters"),
    (f"https://{BUCKET}/%zz", "characters"),
    (f"https://{BUCKET}%00/a", "host"),
    (f"https://{BUCKET}%2eevil.example/a", "host"),
    # unicode and punycode look-alikes
    ("https://bucket.s3.\u0430mazonaws.com/a", "characters"),
    ("https://bucket\u3002s3.amazonaws.com/a", "characters"),
    ("https://bucket.\uff533.amazonaws.com/a", "characters"),
    ("https://xn--bcket-kva.s3.amazonaws.com/a", "punycode"),
    (f"https://{BUCKET}/\ud800", "characters"),
    # addresses in every spelling
    ("https://127.0.0.1/a", "address"),
    ("https://169.254.169.254/latest/meta-data/", "address"),
    ("https://10.0.0.1/a", "address"),
    ("https://2130706433/a", "address"),
    ("https://0x7f000001/a", "address"),
    ("https://0x7f.1/a", "address"),
    ("https://0177.0.0.1/a", "address"),
    ("https://127.1/a", "address"),
    ("https://bucket.s3.1/a", "address"),
    ("https://[::1]/a", "address"),
    ("https://[::ffff:169.254.169.254]/a", "address"),
    ("https://[fe80::1%25eth0]/a", "host"),
    ("https://8.8.8.8/a", "address"),
    ("https://localhost/a", "loopback"),
    ("https://a.localhost/a", "loopback"),
    # too long
    (f"https://{BUCKET}/{'a' * 9000}", "length"),
]


@pytest.mark.parametrize(("url", "reason"), HOSTILE)
def test_hostile_url_is_refused(url: str, reason: str) -> None:
    refused = check_url(url, HOSTS)
    assert isinstance(refused, UrlRefused)
    assert refused.reason == reason
    assert reason in {*REFUSALS, "not_allowed"}
    assert bool(refused.host) == (reason == "not_allowed")


@pytest.mark.parametrize(
    "host", ["s3.us-west-1.amazonaws.com", "b.s3.dualstack.eu-west-1.amazonaws.com", "my.bucket.s3.amazonaws.com"]
)
def test_a_host_that_is_not_allowed_is_named_for_whoever_may_allow_it(host: str) -> None:
    assert check_url(f"https://{host.upper()}/a?X-Amz-Signature=canary", HOSTS) == UrlRefused("not_allowed", host)


def test_no_pattern_lets_a_loopback_or_literal_address_in() -> None:
    for pattern in ("*", "*.*.*.*", "127.0.0.*"):
        assert isinstance(check_url("https://127.0.0.1/a", [pattern]), UrlRefused)
        assert isinstance(check_url("https://localhost/a", [pattern]), UrlRefused)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8081/a?b=c", CheckedUrl("http", "127.0.0.1", 8081, "/a?b=c", loopback=True)),
        ("http://localhost/a", CheckedUrl("http", "localhost", 80, "/a", loopback=True)),
        ("https://LOCALHOST.:8443/a", CheckedUrl("https", "localhost", 8443, "/a", loopback=True)),
        ("http://[::1]:8081/a", CheckedUrl("http", "::1", 8081, "/a", loopback=True)),
        ("http://127.0.0.2/a", UrlRefused("address")),
        ("http://127.1/a", UrlRefused("address")),
        ("http://[0:0:0:0:0:0:0:1]/a", UrlRefused("address")),
        (f"http://{BUCKET}/a", UrlRefused("scheme")),
        (f"https://{BUCKET}:8443/a", UrlRefused("port")),
        ("http://x@127.0.0.1/a", UrlRefused("userinfo")),
    ],
)
def test_named_loopback_host_may_use_http_and_any_port(url: str, expected: CheckedUrl | UrlRefused) -> None:
    assert check_url(url, LOCAL) == expected


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "example.com", False),
        ("ensono-*.example.com", "ensono-prod.example.com", True),
        ("ensono-*.example.com", "other-prod.example.com", False),
        ("Files.Example.Com.", "files.example.com", True),
        ("files?example.com", "files-example.com", False),
        ("files.example.[a-z]om", "files.example.com", False),
    ],
)
def test_star_stands_for_one_label(pattern: str, host: str, allowed: bool) -> None:
    assert isinstance(check_url(f"https://{host}/", [pattern]), CheckedUrl) is allowed


def test_repr_shows_no_secret() -> None:
    checked = check_url(f"https://{BUCKET}/a?X-Amz-Signature=canary", HOSTS)
    assert "canary" not in repr(checked)
    assert BUCKET in repr(checked)


@given(st.text(max_size=80) | st.from_regex(r"https?://[^/]{0,40}(/.{0,20})?", fullmatch=True))
def test_whatever_passes_is_an_allowed_host_on_443(url: str) -> None:
    checked = check_url(url, HOSTS)
    if isinstance(checked, CheckedUrl):
        assert checked.host.endswith(".amazonaws.com")
        assert (checked.scheme, checked.port, checked.loopback) == ("https", 443, False)
        assert checked.target.isascii()
        assert checked.target.startswith("/")
