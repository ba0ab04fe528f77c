"""Texts replaced by others that say nothing, the same one for the same text: of its kind, and about as long."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from ecproc.domain import change, incident
from ecproc.domain.change import ChangeType
from ecproc.domain.events import TicketType, Transaction
from ecproc.domain.ids import identity, normalise_number
from ecproc.domain.times import parse_time
from ecproc.wire.lenient import fold_name, open_text, parse_transaction
from ecproc.wire.members import FIELDS, TIMES, canonical_name


class Meaning(StrEnum):
    """What a member's text is to a fold."""

    WORD = "word"
    """Of a closed list, a time or a size, where it is one: it decides what happens, and tells of nobody."""
    NUMBER = "number"
    """A ticket's."""
    CLIENT = "client"
    ID = "id"
    PERSON = "person"
    EMAIL = "email"
    FILE = "file"
    URL = "url"
    NAMES = "names"
    """Of members, as `changed` may list them."""
    TEXT = "text"


_KINDS: Final[Mapping[str, Meaning]] = {
    **dict.fromkeys(TIMES, Meaning.WORD),
    **dict.fromkeys(
        (
            *("status", "state", "priority", "impact", "urgency", "type", "ticketType", "approvalState", "approval"),
            *("risk", "statusNextAction", "closeCode", "attachmentSize", "attachmentType"),
            *("SentTimestamp", "SequenceNumber", "ClientReferenceAvailable", "TransactionType"),
        ),
        Meaning.WORD,
    ),
    **dict.fromkeys(("ticketNumber", "clientTicketNumber", "MessageGroupId"), Meaning.NUMBER),
    "clientName": Meaning.CLIENT,
    **dict.fromkeys(("approvalId", "id", "MessageDeduplicationId", "MessageId"), Meaning.ID),
    **dict.fromkeys(("commenter", "approverName", "requestedByName"), Meaning.PERSON),
    **dict.fromkeys(("commenterEmail", "approverEmail"), Meaning.EMAIL),
    "attachmentName": Meaning.FILE,
    **dict.fromkeys(("attachment", "attachmentInfo", "link"), Meaning.URL),
    "changed": Meaning.NAMES,
    **dict.fromkeys(("field", "fieldName", "name", "element"), Meaning.NAMES),
}
_BY_FOLDED: Final = {fold_name(name): kind for name, kind in _KINDS.items()}
_NESTED: Final = frozenset(
    map(fold_name, ("display_value", "value", "newValue", "new", "to", "after", "current", "oldValue", "old", "from"))
)
"""Members of a value that is written as an object: their texts are of the kind of the whole."""
_STRUCTURE: Final = (
    frozenset(
        map(
            fold_name,
            (*FIELDS, *_KINDS, "notes", "comments", "comment", "note", "body", "SenderId", "display_value_link"),
        )
    )
    | _NESTED
)
"""Names that a fold may know; any other is one of the client's own."""
_LETTERS: Final = re.compile(r"[^\W\d_]")
_TICKET: Final = re.compile(r"(?i)\s*(e-)?(CS|CHG|INC|REQ|RITM|TASK)?(\d+)\s*")
_SCALARS: Final = frozenset({"true", "false"})
_VOCABULARY: Final = frozenset(
    {
        *(word for values in (incident.VALUES, change.VALUES) for words in values.values() for word in words),
        *(word.lower() for word in (*ChangeType, *TicketType)),
        *("critical", "very high", "comment", "comments", "yes", "no"),
    }
)
_LABEL: Final = re.compile(r"(?i)\d\s*-\s*(?:critical|high|moderate|medium|low|planning)")
_MEDIA_TYPE: Final = re.compile(r"(?:application|audio|font|image|message|multipart|text|video)/[\w.+-]{1,80}")
_LONGEST_NUMBER: Final = 40
_EXPIRY: Final = frozenset({"X-Amz-Date", "X-Amz-Expires", "Expires"})
_PLAIN: Final = re.compile(r"\d{8}T\d{6}Z|\d{1,12}")
_LEAST_TELLING: Final = 10_000
"""From this on a number may tell of somebody, as a telephone's does."""
_HEX: Final = re.compile(r"[0-9a-fA-F]{8,}")
_FILLER: Final = " lorem ipsum dolor sit amet"


class StandIns:
    """What stands for each text: the same for the same one of a kind, another for another."""

    def __init__(self) -> None:
        self._known: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def replace(self, value: Any, name: str = "", kind: Meaning | None = None) -> Any:
        """A decoded JSON value with every text replaced, and the client's own members renamed; its form stays."""
        kind = kind or _BY_FOLDED.get(fold_name(name), Meaning.TEXT)
        match value:
            case str() if (inner := open_text(value)) is not None:
                return json.dumps(self.replace(inner, name, kind))
            case str():
                return self.text(value, kind)
            case dict():
                return self._replace_members(value, kind)
            case list():
                return [self.replace(item, name, kind) for item in value]
            case bool() | None:
                return value
            case int() if kind is not Meaning.WORD and abs(value) >= _LEAST_TELLING:
                return int(self._digits(str(abs(value))))
            case _:
                return value

    def text(self, text: str, kind: Meaning) -> str:
        """What stands for a text of that kind; what fills the place of one stays as it is."""
        if not identity(text) or text.lower() in _SCALARS or (kind is Meaning.WORD and _is_word(text.strip())):
            return text
        return _WRITERS[kind](self, text)

    def _replace_members(self, members: Mapping[str, Any], kind: Meaning) -> dict[str, Any]:
        """An object: of `{"field": "status", "newValue": …}` the value is of the named field's kind."""
        folded = {fold_name(name): item for name, item in members.items()}
        about = next((folded[word] for word in ("field", "fieldname", "element") if word in folded), None)
        named = _BY_FOLDED.get(fold_name(about), Meaning.TEXT) if isinstance(about, str) else None
        return {self._member(name): self._replace_member(name, item, kind, named) for name, item in members.items()}

    def _replace_member(self, name: str, item: Any, kind: Meaning, named: Meaning | None) -> Any:
        if fold_name(name) in _NESTED:
            return self.replace(item, name, named or (Meaning.TEXT if kind is Meaning.NAMES else kind))
        return self.replace(item, name)

    def _member(self, name: str) -> str:
        return name if fold_name(name) in _STRUCTURE else f"member{self._count('member', name)}"

    def _count(self, what: str, text: str) -> int:
        known = self._known[what]
        return known.setdefault(text, len(known) + 1)

    def _number(self, text: str) -> str:
        """A ticket's number: Ensono's keep how they begin; two spellings of one stay two spellings of one."""
        match = _TICKET.fullmatch(text)
        counted = self._count("number", normalise_number(text))
        if match is not None:
            start, end = match.span(3)
            return f"{text[:start]}{counted:0{end - start}d}{text[end:]}"
        digits = sum(map(str.isdigit, text))
        return f"{'X' * min(len(_LETTERS.findall(text)), 8)}{counted:0{max(digits, 1)}d}"

    def _digits(self, text: str) -> str:
        return f"1{self._count('digits', text):0{max(len(text) - 1, 1)}d}"

    def _identifier(self, text: str) -> str:
        return f"{self._count('id', text):0{min(len(text), 64)}x}"

    def _url(self, text: str) -> str:
        """An address of nobody's, with the times of its end, and a name of the same number of digits."""
        try:
            parts = urlsplit(text)
        except ValueError:
            parts = urlsplit("")
        name = parts.path.rpartition("/")[2]
        shown = self._identifier(name) if _HEX.fullmatch(name) else f"file{self._count('path', text.partition('?')[0])}"
        times = [(key, value) for key, value in parse_qsl(parts.query) if key in _EXPIRY and _PLAIN.fullmatch(value)]
        return f"https://files.example.com/attachment/{shown}" + (f"?{urlencode(times)}" if times else "")

    def _file(self, text: str) -> str:
        ending = text.rpartition(".")[2] if "." in text else ""
        return f"file{self._count('file', text)}" + (f".{ending}" if ending.isalnum() and len(ending) <= 5 else "")

    def _names(self, text: str) -> str:
        """Names of members, or the one field that a change is about."""
        names = [name.strip() for name in text.replace(";", ",").split(",")]
        if all(canonical_name(name) in FIELDS | _KINDS.keys() for name in names):
            return text
        return self._plain(text)

    def _plain(self, text: str) -> str:
        """A text of as many characters, unless that were too few to tell it from others."""
        if text.isascii() and text.isdecimal():
            return self._digits(text)
        start = f"text {self._count('text', text)}"
        length = max(len(text) - len(start), 0)
        return (start + _FILLER * (length // len(_FILLER) + 1))[: len(start) + length]


def _is_word(text: str) -> bool:
    """Whether a text is a number, a time, or a word that everybody uses."""
    if text.isascii() and text.isdecimal():
        return len(text) <= _LONGEST_NUMBER
    return (
        text.lower() in _VOCABULARY
        or incident.parse_state(text) is not None
        or change.parse_state(text) is not None
        or parse_transaction(text) is not Transaction.UNKNOWN
        or parse_time(text) is not None
        or _LABEL.fullmatch(text) is not None
        or _MEDIA_TYPE.fullmatch(text) is not None
    )


_WRITERS: Final[Mapping[Meaning, Callable[[StandIns, str], str]]] = {
    Meaning.NUMBER: StandIns._number,
    Meaning.CLIENT: lambda own, text: "testClient" if (count := own._count("client", text)) == 1 else f"client{count}",
    Meaning.ID: StandIns._identifier,
    Meaning.PERSON: lambda own, text: f"Person {own._count('person', text)}",
    Meaning.EMAIL: lambda own, text: f"person{own._count('email', text.lower())}@example.com",
    Meaning.FILE: StandIns._file,
    Meaning.URL: StandIns._url,
    Meaning.NAMES: StandIns._names,
    Meaning.WORD: StandIns._plain,  # one that no list has: people wrote it
    Meaning.TEXT: StandIns._plain,
}
