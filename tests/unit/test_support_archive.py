"""Archives: secrets gone in every form, the same bytes for the same content, nothing overwritten or half written."""

from __future__ import annotations

import errno
import json
import os
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest

from ecproc.support.archive import NotWritten, conceal, write_archive, write_new

MEMBERS = {"b.txt": b"2", "a/x.json": b"{}", "README.txt": b"r"}


@pytest.mark.requirement("I11")
@pytest.mark.parametrize("secret", ["plain-secret", 'with "quotes" \\ and more', "ümläut-sécret", "a/b?c=d&e"])
def test_a_secret_is_gone_in_every_form(secret: str) -> None:
    forms = (secret, quote(secret, safe=""), json.dumps(secret), json.dumps(secret, ensure_ascii=False))
    content = " | ".join(forms).encode()
    concealed = conceal(content, [secret]).decode()
    assert concealed == '*** | *** | "***" | "***"'


def test_what_is_too_short_to_be_a_secret_masks_nothing_and_the_longest_goes_first() -> None:
    assert conceal(b"abc secret-long", ["abc", "", "secret", "secret-long"]) == b"abc ***"


def test_the_same_members_make_the_same_archive_in_any_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one.tar.gz", tmp_path / "two.tar.gz"
    size = write_archive(one, MEMBERS, folder="f", at=1_700_000_000)
    write_archive(two, dict(reversed(MEMBERS.items())), folder="f", at=1_700_000_000)
    assert one.read_bytes() == two.read_bytes()
    assert size == one.stat().st_size
    with tarfile.open(one) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == ["f/README.txt", "f/a/x.json", "f/b.txt"]
    assert {(member.mode, member.uid, member.uname, member.mtime) for member in members} == {
        (0o600, 0, "", 1_700_000_000)
    }


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_there_is_never_written_to(tmp_path: Path, kind: str) -> None:
    path, elsewhere = tmp_path / "a.tar.gz", tmp_path / "elsewhere"
    if kind == "file":
        path.write_bytes(b"mine")
    else:
        path.symlink_to(elsewhere)
    with pytest.raises(NotWritten, match="is there already"):
        write_archive(path, MEMBERS, folder="f", at=0)
    assert not elsewhere.exists()
    assert kind == "link" or path.read_bytes() == b"mine"


def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    real = os.fdopen

    class Full:
        def __init__(self, descriptor: int) -> None:
            self._file = real(descriptor, "wb")

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *error: object) -> None:
            self._file.close()

        def write(self, content: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdopen", lambda descriptor, mode: Full(descriptor))
    with pytest.raises(NotWritten, match="No space left"):
        write_new(path, b"content")
    assert not path.exists()


def test_a_place_that_takes_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotWritten, match="No such file"):
        write_new(tmp_path / "nowhere" / "a.json", b"")
