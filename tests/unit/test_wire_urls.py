"""Addresses as senders write them: what is put right, and that nothing which is right already changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.wire.urls import normalise_url

GOOD = "https://b.s3.amazonaws.com/a%20b.jpg?X-Amz-Signature=0%2F1&x=a+b&y='(z)'"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (GOOD, GOOD),
        (f" {GOOD}\n", GOOD),
        (f"\r\n\t{GOOD}\u00a0", GOOD),
        (GOOD.replace("?", "\r\n?").replace("X-Amz", "X-\tAmz"), GOOD),
        (GOOD.replace("&", "&amp;"), GOOD),
        (GOOD.replace("&", "&AMP;amp;"), GOOD),
        ("https://h/a b.txt", "https://h/a%20b.txt"),
        ('https://h/"quoted".txt', "https://h/%22quoted%22.txt"),
        ("https://h/Müller.pdf", "https://h/M%C3%BCller.pdf"),
        ("https://h/日本.png?n=é", "https://h/%E6%97%A5%E6%9C%AC.png?n=%C3%A9"),
        ("https://h/a|b<c>d{e}f^g`h\\i", "https://h/a%7Cb%3Cc%3Ed%7Be%7Df%5Eg%60h%5Ci"),
        ("https://h/100%.txt", "https://h/100%25.txt"),
        ("https://h/%zz%2", "https://h/%25zz%252"),
        ("https://h/\x00\x1b", "https://h/%00%1B"),
        ("https://h/\ud83d", "https://h/%ED%A0%BD"),
        (f'"{GOOD}"', GOOD),
        (f"<'{GOOD}'>", GOOD),
        (f"\ufeff{GOOD}\u200b", GOOD),
        (GOOD.replace("/", "\\/"), GOOD),
        ("https://h/a#1.txt?X-Amz-Date=1", "https://h/a%231.txt?X-Amz-Date=1"),
        ("https://h/a#fragment", "https://h/a#fragment"),
        ("", ""),
        ("  \n", ""),
    ],
)
def test_what_a_sender_may_do_to_an_address_is_undone(text: str, url: str) -> None:
    assert normalise_url(text) == url


@given(st.text())
def test_it_is_ascii_and_stays_what_it_is(text: str) -> None:
    url = normalise_url(text)

    assert url.isascii()
    assert normalise_url(url) == url


@given(st.from_regex(r"[A-Za-z0-9._~:/?\[\]@!$()*+,;=-]*(#[a-z]*)?", fullmatch=True))
def test_what_is_an_address_already_is_not_touched(text: str) -> None:
    assert normalise_url(text) == text
