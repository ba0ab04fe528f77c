"""What a file is called at Ensono: the guide's rule for names, the one type it forbids, and what a name says of the
content (R128, R132, R133, R135)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

LONGEST_FILE_NAME: Final = 100
"""Characters of a name that is sent: the guide names no bound, ServiceNow's own is 100."""
BASE64_SUFFIX: Final = ".base64"
"""What stands behind the name of a file that is sent as Base64."""

_OTHERS: Final = re.compile(r"[^A-Za-z0-9.-]")
_RUNS: Final = re.compile(r"([.-])[.-]*")
_NAMELESS: Final = "file"
_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
_TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("txt", "log", "ini", "cfg", "conf", "md", "jcl", "sql"), "text/plain"),
    **{name: f"text/{name}" for name in ("csv", "html", "xml", "css")},
    **{name: f"image/{name}" for name in ("png", "gif", "bmp", "jpeg", "tiff")},
    **{name: f"application/{name}" for name in ("pdf", "zip", "json", "rtf", "gzip")},
    **{"htm": "text/html", "jpg": "image/jpeg", "tif": "image/tiff", "svg": "image/svg+xml", "gz": "application/gzip"},
    **{"eml": "message/rfc822", "msg": "application/vnd.ms-outlook", "7z": "application/x-7z-compressed"},
    **{"doc": "application/msword", "xls": "application/vnd.ms-excel", "ppt": "application/vnd.ms-powerpoint"},
    "docx": f"{_OFFICE}wordprocessingml.document",
    "xlsx": f"{_OFFICE}spreadsheetml.sheet",
    "pptx": f"{_OFFICE}presentationml.presentation",
}
_ANY_TYPE: Final = "application/octet-stream"


def name_upload(name: str) -> str:
    """The name with a hyphen for whatever is no letter, digit, hyphen or dot, one for several, a letter or digit first,
    and the extension kept. Naming it once more changes nothing."""
    stem, dot, extension = re.split(r"[/\\]", name)[-1].rstrip(". ").rpartition(".")
    if not dot:
        stem, extension = extension, ""
    behind = _clean(extension)[: LONGEST_FILE_NAME // 2]
    before = _clean(stem)[: LONGEST_FILE_NAME - len(behind) - 1].rstrip(".-") or _NAMELESS
    return f"{before}.{behind}" if behind else before


def refuse_name(name: str) -> str:
    """Why a file of that name is not sent, empty where it may be."""
    bare = name_upload(name).lower()
    if bare.endswith(BASE64_SUFFIX):
        return f"a name that ends with {BASE64_SUFFIX} is Ensono's sign for content sent as Base64: leave that out"
    return "Ensono takes no exe files: pack it into a zip" if bare.endswith(".exe") or bare == "exe" else ""


def name_type(name: str) -> str:
    """The media type that a file of that name is sent with; any bytes where the extension says nothing (R128)."""
    return _TYPES.get(name.rpartition(".")[2].lower(), _ANY_TYPE)


def _clean(text: str) -> str:
    return _RUNS.sub(r"\1", _OTHERS.sub("-", text)).strip(".-")
