"""Texts that are longer than Ensono takes: all of them arrives, in parts that fit."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.domain.commands import Comment
from ecproc.domain.texts import (
    COMMENT_LIMIT,
    LIMITS,
    comment_limit,
    cut_text,
    split_comment,
    split_text,
    written_length,
)
from ecproc.wire.requests import escape_text

TEXTS = st.text(st.sampled_from('ab \n"\\😀ä'), max_size=900)
PIECES = ["e\u0301\u0323", "\r\n", "👍🏽", "👩\u200d💻", "\ud83d\ude00", "❤\ufe0f", "a", " "]
"""What people see as one character, or as one line break."""


@pytest.mark.requirement("R88")
@given(TEXTS, st.integers(40, 300), st.integers(40, 300))
def test_parts_fit_and_are_the_whole_text(text: str, first: int, following: int) -> None:
    parts = split_text(text, first, following)

    assert len(escape_text(parts[0])) <= first
    assert all(len(escape_text(part)) <= following for part in parts[1:])
    if len(parts) == 1:
        assert parts == [text]
        return
    numbered = [re.fullmatch(r"\((\d+)/(\d+)\) (.*)", part, re.DOTALL) for part in parts]
    found = [match.groups() for match in numbered if match is not None]
    assert [number for number, *_ in found] == [str(number) for number in range(1, len(parts) + 1)]
    assert {total for _, total, _ in found} == {str(len(parts))}
    assert "".join(body for *_, body in found) == text
    assert all(body for *_, body in found)


@pytest.mark.requirement("R88")
@pytest.mark.parametrize("letter", ["a", "😀"])
@pytest.mark.parametrize("name", LIMITS)
def test_what_just_fits_is_left_as_it_is(name: str, letter: str) -> None:
    limit = LIMITS[name]
    assert split_text(letter * limit, limit) == [letter * limit]
    assert len(split_text(letter * (limit + 1), limit)) == 2


def test_a_part_ends_between_two_words_where_it_can() -> None:
    first, *_ = split_text("word " * 100, 100, 100)
    assert first.endswith("word ")


@pytest.mark.requirement("R115", "R88")
def test_a_comment_leaves_room_for_its_signature() -> None:
    signed = Comment("a" * COMMENT_LIMIT, "k", "Jason Doe", "Jason.Doe@abc.com", "555-909-2395", "2017-07-03 17:55:48")
    parts = split_comment(signed)
    assert len(parts) == 2
    assert {(part.key, part.commenter) for part in parts} == {("k", "Jason Doe")}
    assert all(len(part.body) + sum(map(len, part.signature)) < COMMENT_LIMIT for part in parts)
    assert split_comment(Comment("a" * COMMENT_LIMIT)) == [Comment("a" * COMMENT_LIMIT)]
    assert comment_limit(Comment("", commenter="x" * 9_000)) > 0


@pytest.mark.requirement("R88", "R99")
@pytest.mark.parametrize("letter", ["\n", '"', "\\", "\t", "\r"])
def test_limits_are_counted_as_a_text_is_sent(letter: str) -> None:
    assert split_text(letter * 80, 160) == [letter * 80]
    assert len(split_text(letter * 80 + "a", 160)) == 2
    assert len(split_text(letter * 2_001, 4_000)) == 2
    assert split_text(letter * 160, 160, measure=len) == [letter * 160]


@given(st.text())
def test_a_text_takes_as_many_characters_as_its_escaped_form_has(text: str) -> None:
    assert written_length(text) == len(escape_text(text))


@pytest.mark.requirement("R88")
@given(st.lists(st.sampled_from(PIECES), max_size=300), st.integers(40, 90))
def test_no_part_ends_inside_of_what_people_see_as_one(pieces: list[str], limit: int) -> None:
    text = "".join(pieces)
    ends = {0}
    for piece in pieces:
        ends.add(max(ends) + len(piece))
    at = 0
    parts = split_text(text, limit, limit)
    for part in parts:
        at += len(part) - (len(part.split(") ", 1)[0]) + 2 if len(parts) > 1 else 0)
        assert at in ends
    for most in (1, 5, 17):
        cut = cut_text(text, most)
        assert text.startswith(cut)
        assert len(cut) <= most
        assert len(cut) in ends or most == 1


def test_a_text_that_is_one_character_only_is_split_all_the_same() -> None:
    text = "a" + "\u0301" * 500
    parts = split_text(text, 100, 100)
    assert "".join(part.split(") ", 1)[1] for part in parts) == text
    assert all(len(part) <= 100 for part in parts)
