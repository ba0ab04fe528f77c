"""The chain's format is frozen: these vectors are what every later version must give too."""

from __future__ import annotations

import struct
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.store.chain import NO_HASH, encode_field, link, payload_hash

MESSAGE_KEY = (18875507807458288128).to_bytes(16, "big") + b"0eb49bcf-1111"
FIRST = "7d266ce9f51876ab7e457b9edb6826a734700a5ade209c3e564d9318233247b5"
SECOND = "251a8df986df05453c34357a57788b552cb05f59058c0c06d6e728810ee94cab"
THIRD = "cd82683723e13a3aa67a550d72c0d1d735e625fad4ed9151fa70376a80f921e7"


@pytest.mark.requirement("I6")
def test_golden_vectors() -> None:
    state = payload_hash(b'{"state":"open"}')
    assert state.hex() == "f84509a77aa28abf2c48ebbbeeaf7e2ea3838bf33dd41a4d4ebcd6235a9a2684"
    first = link(
        NO_HASH,
        1,
        at=1_700_000_000_000_000,
        kind="LogIdentified",
        stream="ecproc",
        version=1,
        message_key=None,
        payload_hash=payload_hash(b"{}"),
    )
    second = link(
        first,
        2,
        at=1_700_000_000_000_001,
        kind="MessageReceived",
        stream="e-CS0879727",
        version=1,
        message_key=MESSAGE_KEY,
        payload_hash=state,
    )
    third = link(
        second, 3, at=-1, kind="", stream="ü", version=2**63 - 1, message_key=b"", payload_hash=payload_hash(b"")
    )
    assert [hash.hex() for hash in (first, second, third)] == [FIRST, SECOND, THIRD]


@pytest.mark.requirement("I6")
def test_a_link_is_the_hash_of_its_fields_each_behind_its_length() -> None:
    fields = b"".join(
        [
            struct.pack(">I32s", 32, bytes.fromhex(FIRST)),
            struct.pack(">IQ", 8, 2),
            struct.pack(">IQ", 8, 1_700_000_000_000_001),
            struct.pack(">I15s", 15, b"MessageReceived"),
            struct.pack(">I11s", 11, b"e-CS0879727"),
            struct.pack(">IQ", 8, 1),
            struct.pack(">I29s", 29, MESSAGE_KEY),
            struct.pack(">I32s", 32, sha256(b'{"state":"open"}').digest()),
        ]
    )
    assert sha256(fields).hexdigest() == SECOND


hashes = st.binary(min_size=32, max_size=32)
numbers = st.integers(-(2**63), 2**63 - 1)
names = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.requirement("I6")
@given(st.tuples(hashes, numbers, numbers, names, names, numbers, st.none() | st.binary(), hashes))
def test_a_link_encodes_each_of_its_fields_whatever_they_are(
    fields: tuple[bytes, int, int, str, str, int, bytes | None, bytes],
) -> None:
    before, position, at, kind, stream, version, key, payload = fields
    linked = link(
        before, position, at=at, kind=kind, stream=stream, version=version, message_key=key, payload_hash=payload
    )
    assert linked == sha256(b"".join(map(encode_field, fields))).digest()


def test_fields_that_differ_are_encoded_differently() -> None:
    encoded = [encode_field(value) for value in (None, b"", b"\x00", 0, 1, -1, "a", "ab", b"abc", 2**63 - 1, -(2**63))]
    assert len(set(encoded)) == len(encoded)
    assert encode_field(None) == b"\xff\xff\xff\xff"
    assert encode_field("") == encode_field(b"") == bytes(4)
    assert encode_field("ü") == b"\x00\x00\x00\x02\xc3\xbc"
