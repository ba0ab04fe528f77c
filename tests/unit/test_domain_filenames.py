"""What a file may be called at Ensono."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.domain.filenames import LONGEST_FILE_NAME, name_type, name_upload, refuse_name


@pytest.mark.requirement("R132", "C36")
@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("example1-file-name.txt", "example1-file-name.txt"),
        ("console log.txt", "console-log.txt"),
        ("Überblick (2).zip", "berblick-2.zip"),
        ("a  b__c.tar.gz", "a-b-c.tar.gz"),
        ("--..report.pdf", "report.pdf"),
        ("山田.txt", "file.txt"),
        (".profile", "file.profile"),
        ("..", "file"),
        ("", "file"),
        ("no extension", "no-extension"),
        ("/etc/passwd", "passwd"),
        ("C:\\temp\\trace.log", "trace.log"),
        ("trace.log. .", "trace.log"),
        ("a.p df", "a.p-df"),
        ("x" * 300 + ".pdf", "x" * (LONGEST_FILE_NAME - 4) + ".pdf"),
    ],
)
def test_a_name_keeps_what_the_guide_allows(name: str, sent: str) -> None:
    assert name_upload(name) == sent


@pytest.mark.requirement("R132")
@given(st.text() | st.text("a.- /\\é", max_size=12))
def test_every_name_obeys_the_rule_and_is_settled(name: str) -> None:
    sent = name_upload(name)

    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", sent)
    assert len(sent) <= LONGEST_FILE_NAME
    assert not re.search(r"[.-]{2}", sent)
    assert name_upload(sent) == sent


@pytest.mark.requirement("R133", "R135")
@pytest.mark.parametrize(
    ("name", "refused"),
    [
        *((name, True) for name in ("a.exe", "A.EXE", "a.exe.base64", "a.ExE.Base64", "a.exe.", "a.exe ", "exe")),
        *((name, True) for name in ("a.pdf.base64", "a\u00e9.exe", "dir/a.exe", ".exe")),
        *((name, False) for name in ("a.pdf", "exe.txt", "aexe", "a.exe.zip", "a.ex", "base64.txt")),
    ],
)
def test_programs_are_refused_however_they_are_written(name: str, refused: bool) -> None:
    assert bool(refuse_name(name)) == refused


@pytest.mark.requirement("R128")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("test1.pdf", "application/pdf"),
        ("A.TXT", "text/plain"),
        ("rocket.jpg", "image/jpeg"),
        ("a.html", "text/html"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.unknown", "application/octet-stream"),
        ("no-extension", "application/octet-stream"),
    ],
)
def test_a_name_says_what_it_is_sent_as(name: str, told: str) -> None:
    assert name_type(name) == told
