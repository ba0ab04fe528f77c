"""Standard Webhooks: what we sign others verify, what others sign we verify, and nothing else."""

from __future__ import annotations

import hmac
import random
import time
from base64 import b64decode, b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from ecproc.webhooks import BadSecret, make_headers, make_secret, open_file, read_key, sign, sign_file, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_plJ3nmyCDGBKInavdOK15jsl8QSLxCXR"
UNPADDED = "whsec_" + b64encode(bytes(range(32))).decode().rstrip("=")
NOW = 1_790_000_000
BODY = b'{"type":"ticket.create","data":{}}'
DIGEST = "ab" * 32

secrets = st.binary(min_size=24, max_size=64).map(lambda key: "whsec_" + b64encode(key).decode())
ids = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=60).map("msg_".__add__)
bodies = st.text().map(str.encode)


def check(headers: dict[str, str], body: bytes = BODY, *, keys: tuple[str, ...] = (SECRET,), now: float = NOW) -> bool:
    return verify(
        [read_key(key) for key in keys],
        message_id=headers.get("webhook-id", ""),
        timestamp=headers.get("webhook-timestamp", ""),
        signature=headers.get("webhook-signature", ""),
        body=body,
        now=now,
    )


def signed(*keys: str, message_id: str = "msg_1", at: int = NOW, body: bytes = BODY) -> dict[str, str]:
    return make_headers([read_key(key) for key in keys or (SECRET,)], message_id, at, body)


@given(secret=secrets, message_id=ids, body=bodies)
def test_the_official_library_verifies_what_we_sign(secret: str, message_id: str, body: bytes) -> None:
    headers = signed(secret, message_id=message_id, at=int(time.time()), body=body)
    Webhook(secret).verify(body, headers, json_parse=False)


@given(secret=secrets, message_id=ids, body=bodies)
def test_we_verify_what_the_official_library_signs(secret: str, message_id: str, body: bytes) -> None:
    at = datetime.fromtimestamp(NOW, UTC)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(NOW),
        "webhook-signature": Webhook(secret).sign(message_id, at, body.decode()),
    }
    assert check(headers, body, keys=(secret,))
    assert headers == signed(secret, message_id=message_id, body=body)


@pytest.mark.parametrize("change", ["body", "id", "timestamp", "signature"])
def test_both_refuse_what_was_changed(change: str) -> None:
    at = int(time.time())
    headers, body = signed(at=at), BODY
    match change:
        case "body":
            body = BODY.replace(b"create", b"cancel")
        case "id":
            headers["webhook-id"] = "msg_2"
        case "timestamp":
            headers["webhook-timestamp"] = str(at + 1)
        case "signature":
            head, _, rest = headers["webhook-signature"].partition(",")
            headers["webhook-signature"] = f"{head},{'A' if rest[0] != 'A' else 'B'}{rest[1:]}"
    assert not check(headers, body, now=at)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body, headers)


@given(position=st.integers(0, len(BODY) - 1), flipped=st.integers(1, 255))
def test_any_changed_byte_counts(position: int, flipped: int) -> None:
    body = bytearray(BODY)
    body[position] ^= flipped
    assert not check(signed(), bytes(body))


@pytest.mark.parametrize(("seconds", "good"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_the_signed_time_is_at_most_five_minutes_off(seconds: int, good: bool) -> None:
    assert check(signed(), now=NOW + seconds) is good


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed(name: str) -> None:
    headers = signed()
    del headers[name]
    assert not check(headers)


@pytest.mark.parametrize(
    "timestamp", ["", "-1", "1e9", f"{NOW}.0", f" {NOW}", f"+{NOW}", "९", "9" * 400, f"{NOW}\n"], ids=repr
)
def test_a_time_is_whole_seconds(timestamp: str) -> None:
    content = f"msg_1.{timestamp}.".encode() + BODY
    made = b64encode(hmac.digest(read_key(SECRET), content, "sha256")).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": timestamp, "webhook-signature": f"v1,{made}"}
    assert not check(headers)


@pytest.mark.parametrize("message_id", ["a.b", "", "a b", "ü", "x" * 257])
def test_an_id_is_printable_and_has_no_dot(message_id: str) -> None:
    content = f"{message_id}.{NOW}.".encode() + BODY
    made = b64encode(hmac.digest(read_key(SECRET), content, "sha256")).decode()
    assert not check({"webhook-id": message_id, "webhook-timestamp": str(NOW), "webhook-signature": f"v1,{made}"})


def test_each_of_several_secrets_verifies_while_they_change() -> None:
    old, both, new = signed(SECRET), signed(OTHER, SECRET), signed(OTHER)
    assert len(both["webhook-signature"].split(" ")) == 2
    assert all(check(headers, keys=(OTHER, SECRET)) for headers in (old, both, new))
    assert check(both, keys=(SECRET,))
    assert check(both, keys=(OTHER,))
    assert not check(new, keys=(SECRET,))
    at = int(time.time())
    for secret in (SECRET, OTHER):
        Webhook(secret).verify(BODY, signed(OTHER, SECRET, at=at), json_parse=False)


def test_unknown_versions_count_for_nothing() -> None:
    headers = signed()
    made = headers["webhook-signature"].removeprefix("v1,")
    assert not check(headers | {"webhook-signature": f"v2,{made}"})
    assert not check(headers | {"webhook-signature": f"v1a,{made}"})
    assert check(headers | {"webhook-signature": f"v2,{made} v1,{made}"})
    assert check(headers | {"webhook-signature": f"v2,nonsense ,, v1 {headers['webhook-signature']}"})
    assert not check(headers | {"webhook-signature": made})


def test_only_so_many_signatures_are_looked_at() -> None:
    headers = signed()
    assert not check(headers | {"webhook-signature": "v1,x " * 32 + headers["webhook-signature"]})


def test_a_secret_may_come_without_its_padding() -> None:
    assert read_key(UNPADDED) == bytes(range(32))
    headers = signed(UNPADDED, at=int(time.time()))
    Webhook(UNPADDED).verify(BODY, headers, json_parse=False)
    assert check(headers, keys=(UNPADDED + "=",), now=time.time())


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", SECRET.removeprefix("whsec_"), "whsec_%%%", "whsec_c2hvcnQ=", "whsec_" + "A" * 100, "whsec_ü" * 9],
)
def test_what_is_no_secret_is_refused_and_not_told(secret: str) -> None:
    with pytest.raises(BadSecret) as refused:
        read_key(secret)
    assert str(refused.value) == "it is not whsec_ and the base64 of 24 to 64 bytes"
    assert refused.value.__context__ is None


def test_a_fresh_secret_is_as_random_as_what_it_is_made_of() -> None:
    made = [make_secret(random.Random(seed).randbytes) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    assert [len(read_key(one)) for one in made] == [32] * 3
    assert isinstance(Webhook(made[0]), Webhook)


def test_comparing_takes_as_long_whatever_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bool] = []
    really = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(really(one, other))
        return compared[-1]

    monkeypatch.setattr("ecproc.webhooks.hmac.compare_digest", compare)
    counts = []
    for headers, now in [
        (signed(), NOW),
        (signed(), NOW + 999),
        (signed(OTHER), NOW),
        (signed() | {"webhook-id": "."}, 0),
    ]:
        compared.clear()
        check(headers, keys=(SECRET, OTHER), now=now)
        counts.append(len(compared))
    assert counts == [2] * 4


def test_a_file_address_opens_that_file_for_an_hour() -> None:
    key, other = read_key(SECRET), read_key(OTHER)
    token = sign_file(key, DIGEST, now=NOW)
    assert open_file([other, key], token, now=NOW + 3_599) == DIGEST
    assert open_file([key], token, now=NOW + 3_600) is None
    assert open_file([other], token, now=NOW) is None
    assert open_file([], token, now=NOW) is None


@given(position=st.integers(0, 95), put=st.sampled_from("Aa0_-./ é"))
def test_a_changed_token_opens_nothing(position: int, put: str) -> None:
    key = read_key(SECRET)
    token = sign_file(key, DIGEST, now=NOW)
    changed = token[:position] + put + token[position + 1 :]
    assert (open_file([key], changed, now=NOW) is None) == (changed != token)


@given(token=st.text(max_size=120))
def test_whatever_else_opens_nothing(token: str) -> None:
    assert open_file([read_key(SECRET)], token, now=NOW) is None


def test_a_message_signature_is_no_seal_of_an_address() -> None:
    key = read_key(SECRET)
    token = sign_file(key, DIGEST, now=NOW)
    assert b64decode(token, b"-_")[40:] != hmac.digest(key, b64decode(token, b"-_")[:40], "sha256")
    assert sign([key], "msg_1", NOW, b"").startswith("v1,")
