"""The object store beside the bridge: attachments to download, one-time places to upload to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

import msgspec

from ecproc.simulator.exchange import XML, HttpRequest, Reply
from ecproc.simulator.ledger import Ledger, UploadedFile
from ecproc.simulator.presigned import (
    UPLOAD_LIFETIME,
    UrlVerdict,
    check_url,
    describe_expiry,
    describe_refusal,
    sign_url,
)

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
BASE64 = ".base64"


class File(msgspec.Struct, frozen=True):
    """An attachment that Ensono offers: `id` is its sys_id."""

    id: str
    name: str
    type: str
    content: bytes


@dataclass(slots=True)
class _Slot:
    ticket: str
    name: str
    used: bool = False


class FileStore:
    """Objects by path. Requests that carry the bridge's key are refused and counted: it must never get here (R129)."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._files: dict[str, File] = {}
        self._slots: dict[str, _Slot] = {}

    def offer(self, file: File) -> None:
        """Serve a file under `locate`."""
        self._files[unquote(locate(file.id, file.name))] = file

    def open_slot(self, url_base: str, ticket: str, name: str, now: float) -> str | None:
        """Give a one-time upload URL that lives 120 s, None for a name the guide forbids (R126-R133)."""
        if not FILE_NAME.fullmatch(name) or name.lower().removesuffix(BASE64).endswith(".exe"):
            return None
        path = f"/s3/inbound/{len(self._slots):032x}.{name}"
        self._slots[path] = _Slot(ticket, name)
        return sign_url(url_base, path, signed_at=now, lifetime=UPLOAD_LIFETIME, method="PUT")

    def answer(self, request: HttpRequest, now: float) -> Reply:
        """Serve a download or take an upload."""
        if "x-api-key" in request.headers:
            self._ledger.leaked_keys += 1
            return _refuse("AccessDenied", "The bridge's API key does not belong here")
        match check_url(request.method, request.path, request.query, now):
            case UrlVerdict.FORGED:
                return _refuse("SignatureDoesNotMatch", "The request signature does not match")
            case UrlVerdict.EXPIRED:
                return Reply(status=403, body=describe_expiry(request.query, now), content_type=XML, refused=True)
            case UrlVerdict.VALID if request.method == "PUT":
                return self._take_upload(request)
            case UrlVerdict.VALID:
                return self._give_file(request)

    def _give_file(self, request: HttpRequest) -> Reply:
        file = self._files.get(unquote(request.path))
        if file is None:
            return _refuse("NoSuchKey", "The specified key does not exist.", status=404)
        self._ledger.downloads[file.id] += 1
        return Reply(status=200, body=file.content, content_type=file.type)

    def _take_upload(self, request: HttpRequest) -> Reply:
        slot = self._slots.get(unquote(request.path))
        if slot is None or slot.used:
            return _refuse("AccessDenied", "The URL was used before")
        content_type = request.headers.get("content-type", "")
        content, name = request.body, slot.name
        if name.endswith(BASE64):
            try:
                content, name = base64.b64decode(content, validate=True), name.removesuffix(BASE64)
            except binascii.Error:
                return _refuse("InvalidRequest", "The body is not Base64", status=400)
        slot.used = True
        digest = hashlib.sha256(content).hexdigest()
        self._ledger.uploads.append(UploadedFile(slot.ticket, name, len(content), digest, content_type))
        return Reply(status=200, content_type=content_type)


def locate(file_id: str, name: str) -> str:
    """Give the path an attachment is served under, ready to be signed."""
    return f"/s3/outbound/{file_id}.{quote(name)}"


def _refuse(code: str, message: str, status: int = 403) -> Reply:
    return Reply(status=status, body=describe_refusal(code, message), content_type=XML, refused=True)
