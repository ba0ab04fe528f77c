"""Whether a file is what its name says."""

from __future__ import annotations

import pytest

from ecproc.attachments.kinds import find_mismatch

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(40)
ZIP = b"PK\x03\x04\x14\x00\x06\x00" + bytes(40)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
GZIP = b"\x1f\x8b\x08\x00" + bytes(20)
PROGRAM = b"MZ\x90\x00\x03\x00\x00\x00" + bytes(100)


@pytest.mark.requirement("R134")
@pytest.mark.parametrize(
    ("name", "head"),
    [
        *((name, PNG) for name in ("a.png", "A.PNG")),
        *((name, JPEG) for name in ("a.jpg", "a.jpeg")),
        *((f"a.{kind}", ZIP) for kind in ("zip", "docx", "xlsx", "pptx")),
        *((f"a.{kind}", OLE) for kind in ("doc", "xls", "ppt", "msg")),
        ("a.pdf", PDF),
        ("a.gz", GZIP),
        ("a.gif", b"GIF89a" + bytes(20)),
        ("a.bmp", b"BM" + bytes(60)),
        *((name, b"II*\x00" + bytes(40)) for name in ("a.tif", "a.tiff")),
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(20)),
        ("a.rar", b"Rar!\x1a\x07\x00" + bytes(20)),
        ("a.rtf", b"{\\rtf1\\ansi"),
        ("a.txt", b"hello\n"),
        ("a.log", b"BM is how this line begins, and MZ the next one\nMZ\n"),
        ("a.txt", b"MZ is no program here"),
        ("a.csv", "größe;2\r\n".encode()),
        ("a.csv", "größe;2\r\n".encode("latin-1")),
        ("a.txt", "größe".encode("utf-16")),
        ("a.log", "é".encode()[:1] and b"x" * 4095 + "é".encode()[:1]),
        ("a.eml", b"Return-Path: <a@b>\r\nSubject: x\r\n"),
        ("a.xml", b"<?xml version='1.0'?><a/>"),
        ("a.dat", bytes(range(256))),
        ("a.trc", PNG),
        ("no-extension", b"\x00\x01"),
        ("a.pdf", b""),
    ],
)
def test_what_fits_may_go(name: str, head: bytes) -> None:
    assert find_mismatch(name, head) == ""


@pytest.mark.requirement("R134", "R133")
@pytest.mark.parametrize(
    ("name", "head", "words"),
    [
        ("TestFile.csv", ZIP, "not csv"),  # the guide's own example
        ("a.txt", PNG, "png, not txt"),
        ("a.log", GZIP, "not log"),
        ("a.jpg", PNG, "png, not jpg"),
        ("a.xlsx", b"a;b;c\n", "text, not xlsx"),
        ("a.pdf", JPEG, "not pdf"),
        ("a.txt", b"\x00\x01\x02\x03", "something else, not txt"),
        *((name, PROGRAM, "program") for name in ("a.txt", "a.dat", "a", "a.pdf")),
    ],
)
def test_a_renamed_file_is_found_out(name: str, head: bytes, words: str) -> None:
    assert words in find_mismatch(name, head)
