"""Personal data in what is given away: names, e-mail addresses and telephone numbers, each under one stand-in; and the
queries of addresses without a host, which may hold a key."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ecproc.wire.lenient import fold_name

NAME: Final = "name"
EMAIL: Final = "email"
PHONE: Final = "phone"

_ENDINGS: Final = ((EMAIL, ("email", "mail")), (PHONE, ("phone", "mobile", "fax")))
"""How members end that hold an address or a number."""
_NAMES: Final = frozenset(
    {
        *("commenter", "approver", "approvername", "author", "requestedby", "requestedbyname", "requestedfor"),
        *("contact", "contactname", "caller", "callername", "openedby", "updatedby", "createdby", "closedby"),
        *("resolvedby", "assignedto", "who", "user", "username", "firstname", "lastname", "fullname"),
        *("watchlist", "worknoteslist", "additionalassigneelist"),
    }
)
"""What members are called that hold a name."""
_ROLE: Final = re.compile(r"caller.*|.+(?:by|for|to|contact|user)")
"""How a client's own members are called that do, `sys_created_by` as `u_contact`."""
_NO_ROLES: Final = frozenset({"waitingfor", "waitsfor"})
"""Members of ours that are called so and hold nobody."""
# Each of these looks only so far from where it begins: a stranger wrote what they go through.
_EMAIL: Final = re.compile(r"[\w.+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_PHONE: Final = re.compile(
    r"(?<![\w.:/+-])(?!\d{4}-\d{2}-\d{2})(?!\d{1,2}[/.]\d{1,2}[/.]\d{2,4})"
    r"(?:\+\d{7,15}|(?:\+\d{1,3}[ ./-]?)?(?:\(\d{1,5}\)[ ./-]?)?\d{2,5}(?:[ /-]\d{2,8}){1,4})(?![\w:-])"
)
_LOOSE_MEMBER: Final = re.compile(r"""(\\{0,8}")([A-Za-z_ -]{1,40})\1(\s{0,8}:\s{0,8})\1([^"\\]{1,400})\1""")
_PATH_QUERY: Final = re.compile(
    r"""(?<![\w./%-])([\w.%-]*+/[\w./%-]*+\?)(?:[^\s"'<>\\]|\\u[0-9a-fA-F]{4}|\\/)+""",
)
"""The query of an address without its host, as outcomes keep one; also inside of JSON that is broken."""
_SHORTEST_NAME: Final = 3
_LEAST_DIGITS: Final = 7
_MOST_MET: Final = 2000
"""Names that are looked for in texts, and as many numbers."""
_DEPTH: Final = 100


class PersonalMask:
    """Stands in for people: whoever was met under one name, address or number has one stand-in everywhere.

    What a text says of somebody who is named nowhere else nobody can tell; `learn` what there is before anything is
    masked.
    """

    def __init__(self) -> None:
        self._known: dict[str, dict[str, int]] = {NAME: {}, EMAIL: {}, PHONE: {}}
        self._names: re.Pattern[str] | None = None
        self._is_sorted = True

    def learn(self, document: bytes) -> None:
        """Meet the people whom a JSON document names in members of their own."""
        for kind, text in _list_people(_decode(document), None, _DEPTH):
            self._meet(kind, text)
        self._is_sorted = False

    def mask(self, document: bytes) -> bytes:
        """A JSON document without people; what is no JSON is masked as text."""
        value = _decode(document)
        if value is None:
            return self.mask_text(document.decode("utf-8", "replace")).encode()
        return _encode(self._mask_value(value, None, _DEPTH)).encode()

    def mask_text(self, text: str) -> str:
        """A text without queries, addresses, numbers, and the names that were met, also in broken JSON."""
        text = _hide_queries(text)
        text = _LOOSE_MEMBER.sub(self._mask_member, text)
        text = _EMAIL.sub(self._stand_in(EMAIL), text)
        if (names := self._find_names()) is not None:
            text = names.sub(self._mask_known, text)
        return _PHONE.sub(self._mask_phone, text)

    def _find_names(self) -> re.Pattern[str] | None:
        """What finds the names and telephone numbers that were met, the longest first."""
        if not self._is_sorted:
            met = [name for name in self._known[NAME] if len(name) >= _SHORTEST_NAME][:_MOST_MET]
            met += [number for number in self._known[PHONE] if len(number) >= _LEAST_DIGITS][:_MOST_MET]
            ordered = "|".join(map(re.escape, sorted(met, key=len, reverse=True)))
            self._names = re.compile(rf"(?i)(?<!\w)(?:{ordered})(?!\w)") if ordered else None
            self._is_sorted = True
        return self._names

    def _mask_value(self, value: Any, kind: str | None, depth: int) -> Any:
        match value:
            case str() if kind is not None:
                return self._meet(kind, value) if value.strip() else value
            case str():
                return self._mask_nested(value, depth)
            case dict() if depth:
                members = _list_members(value)
                return {
                    _hide_queries(name): self._mask_value(item, own or kind, depth - 1) for name, item, own in members
                }
            case list() if depth:
                return [self._mask_value(item, kind, depth - 1) for item in value]
            case dict() | list():
                return None
            case int() | float() if kind is not None and not isinstance(value, bool):
                return self._meet(kind, str(value))
            case _:
                return value

    def _mask_nested(self, text: str, depth: int) -> str:
        """A text, which may be JSON itself."""
        inner = _decode(text.encode("utf-8", "surrogatepass")) if text.lstrip()[:1] in ("{", "[") else None
        return self.mask_text(text) if inner is None else _encode(self._mask_value(inner, None, depth - 1))

    def _mask_member(self, match: re.Match[str]) -> str:
        quote, name, colon, value = match.groups()
        kind = _kind_of(name)
        return f"{quote}{name}{quote}{colon}{quote}{self._meet(kind, value)}{quote}" if kind else match[0]

    def _mask_known(self, match: re.Match[str]) -> str:
        return self._meet(PHONE if _fold(match[0]) in self._known[PHONE] else NAME, match[0])

    def _mask_phone(self, match: re.Match[str]) -> str:
        digits = sum(map(str.isdigit, match[0]))
        return self._meet(PHONE, match[0]) if digits >= _LEAST_DIGITS else match[0]

    def _stand_in(self, kind: str) -> Callable[[re.Match[str]], str]:
        return lambda match: self._meet(kind, match[0])

    def _meet(self, kind: str, text: str) -> str:
        if _STAND_IN.fullmatch(text):
            return text
        known = self._known[kind]
        return f"[{kind} {known.setdefault(_fold(text), len(known) + 1)}]"


_STAND_IN: Final = re.compile(rf"\[(?:{NAME}|{EMAIL}|{PHONE}) \d+\]")


def _hide_queries(text: str) -> str:
    return _PATH_QUERY.sub(r"\1***", text)


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _kind_of(name: str) -> str | None:
    """What a member of that name holds of a person."""
    folded = fold_name(name)
    for kind, endings in _ENDINGS:
        if folded.endswith(endings):
            return kind
    if folded in _NAMES or (_ROLE.fullmatch(folded) and folded not in _NO_ROLES):
        return NAME
    return None


def _list_members(members: Mapping[str, Any]) -> Iterator[tuple[str, Any, str | None]]:
    """An object's members and what each holds of a person: its `name` is one where an address stands beside it, as an
    approver's does and a file's does not."""
    kinds = {name: _kind_of(name) for name in members}
    bare = NAME if EMAIL in kinds.values() else None
    for name, item in members.items():
        yield name, item, kinds[name] or (bare if fold_name(name) == "name" else None)


def _list_people(value: Any, kind: str | None, depth: int) -> Iterator[tuple[str, str]]:
    match value:
        case str() if kind is not None:
            if value.strip():
                yield kind, value
        case int() | float() if kind is not None and not isinstance(value, bool):
            yield kind, str(value)
        case str() if depth and value.lstrip()[:1] in ("{", "["):
            yield from _list_people(_decode(value.encode("utf-8", "surrogatepass")), None, depth - 1)
        case dict() if depth:
            for _, item, own in _list_members(value):
                yield from _list_people(item, own or kind, depth - 1)
        case list() if depth:
            for item in value:
                yield from _list_people(item, kind, depth - 1)


def _decode(document: bytes) -> Any:
    """The document's value, with integers of any length; None where it is no JSON."""
    try:
        text = document.decode("utf-8", "surrogatepass")
        return json.loads(text, strict=False, parse_float=_read_float, parse_constant=str)
    except (ValueError, RecursionError):
        return None


def _read_float(digits: str) -> float | str:
    """A number, or the text of one that no number holds."""
    number = float(digits)
    return number if math.isfinite(number) else digits


def _encode(value: Any) -> str:
    """As JSON that any reader takes, also with half of a surrogate pair in it."""
    return json.dumps(value, separators=(",", ":"))
