"""Whether a file is what its name says: ServiceNow drops one that is not, and tells nobody (R134)."""

from __future__ import annotations

import codecs
from contextlib import suppress
from typing import Final

HEAD_BYTES: Final = 4096
"""How much of a file's beginning is looked at."""

_TEXT: Final = frozenset(
    {
        *("txt", "log", "csv", "tsv", "md", "json", "xml", "html", "htm", "svg", "eml", "ics", "yml", "yaml", "ini"),
        *("cfg", "conf", "sql", "css", "js", "sh", "ps1", "bat", "jcl", "py"),
    }
)
"""Extensions of what people can read."""
_SIGNED: Final = frozenset(
    {
        *("pdf", "png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff", "zip", "gz", "7z", "rar", "rtf"),
        *("docx", "xlsx", "pptx", "doc", "xls", "ppt"),
    }
)
"""Extensions of what always begins as its kind does; other kinds have more beginnings than anybody lists."""
_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PROGRAM: Final = "exe"


def find_mismatch(name: str, head: bytes) -> str:
    """What speaks against a file of that name which begins with these bytes; empty if nothing does."""
    extension, found, readable = name.rpartition(".")[2].lower(), _identify(head), _is_readable(head)
    if _PROGRAM in found and not readable:
        return "its content is a program, and Ensono takes no exe files"
    if not head or extension in found:
        return ""
    if extension in _SIGNED or (extension in _TEXT and not readable):
        told = "text" if readable else "/".join(found[:3]) or "something else"
        return f"its content is {told}, not {extension}"
    return ""


def _identify(head: bytes) -> list[str]:
    """The extensions of what begins like this, the likeliest first."""
    import puremagic  # a thousand signatures, which most processes never need

    with suppress(puremagic.PureError, ValueError):
        return [match.extension.removeprefix(".") for match in puremagic.magic_string(head) if match.extension]
    return []


def _is_readable(head: bytes) -> bool:
    if head.startswith(_MARKS):
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        # What is older than UTF-8 has no zeros and hardly any control characters either.
        return not any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return b"\x00" not in head
