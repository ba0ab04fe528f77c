"""Encoded queries: the one way to build a `sysparm_query`.

There is no escape in one: `^` begins another condition, a condition that the instance does not understand is ignored,
and `javascript:` is evaluated. So a value stands in a query only if it is of one of the few forms below. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,79}")
_KEY: Final = re.compile(r"[A-Za-z0-9:._-]{1,100}")
_SYS_ID: Final = re.compile(r"[0-9a-f]{32}")
_NUMBER: Final = re.compile(r"[A-Z]{2,8}[0-9]{4,12}")
_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+")
_CONSTANT: Final = re.compile(r"[^\^\r\n]{1,2000}")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_CONDITION: Final = re.compile(r"[a-z][a-z0-9_.]{0,160}(?![a-z0-9_.])")
_JOINTS: Final = ("OR", "NQ", "EQ", "ORDERBY", "GROUPBY")
_SCRIPT: Final = "javascript:"
_LONGEST_EMAIL: Final = 100


class UnsafeQuery(ValueError):
    """A value that must not stand in a query; the text names the field, never the value."""

    def __init__(self, field: str) -> None:
        super().__init__(f"the value of {field} cannot stand in a query")


def is_key(text: str) -> bool:
    """Whether it is a key of our own."""
    return _KEY.fullmatch(text) is not None and _SCRIPT not in text.lower()


def is_sys_id(text: str) -> bool:
    """Whether it is a record's sys_id."""
    return _SYS_ID.fullmatch(text) is not None


def is_number(text: str) -> bool:
    """Whether it is a record's number, as in INC0010042."""
    return _NUMBER.fullmatch(text) is not None


def is_email(text: str) -> bool:
    """Whether it is an address that may be asked for."""
    return len(text) <= _LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None


def is_constant(text: str) -> bool:
    """Whether a text of the configuration may stand in a query."""
    return _CONSTANT.fullmatch(text) is not None and _SCRIPT not in text.lower()


def is_time(text: str) -> bool:
    """Whether it is a time as records have it."""
    return _TIME.fullmatch(text) is not None


def is_condition(text: str) -> bool:
    """Whether it is one condition that may stand beside others: none that changes what those mean."""
    return is_constant(text) and _CONDITION.match(text) is not None and not text.startswith(_JOINTS)


class EncodedQuery(msgspec.Struct, frozen=True):
    """Conditions that all must hold, and an order; `EncodedQuery()` has none. Every method gives a longer query.

    Raises UnsafeQuery for a value that is not of the form its method is for.
    """

    _parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "^".join(self._parts)

    def where_key(self, field: str, key: str) -> EncodedQuery:
        """The field is a key of our own."""
        return self._add(field, "=", key, safe=is_key(key))

    def where_id(self, field: str, sys_id: str) -> EncodedQuery:
        """The field refers to a record."""
        return self._add(field, "=", sys_id, safe=is_sys_id(sys_id))

    def where_number(self, number: str) -> EncodedQuery:
        """The record has that number."""
        return self._add("number", "=", number, safe=is_number(number))

    def where_email(self, field: str, address: str) -> EncodedQuery:
        """The field is an e-mail address."""
        return self._add(field, "=", address, safe=is_email(address))

    def where_constant(self, field: str, text: str) -> EncodedQuery:
        """The field is a text of the configuration or of our own code."""
        return self._add(field, "=", text, safe=is_constant(text))

    def where_configured(self, condition: str) -> EncodedQuery:
        """A condition that the operator wrote."""
        return self._append(condition, "the configured query", safe=is_condition(condition))

    def one_of(self, field: str, texts: Collection[str]) -> EncodedQuery:
        """The field is one of these keys or sys_ids of ours."""
        return self._add(field, "IN", ",".join(texts), safe=bool(texts) and all(map(is_key, texts)))

    def since(self, field: str, time: str) -> EncodedQuery:
        """The field is that time of the instance's, or a later one."""
        return self._add(field, ">=", time, safe=is_time(time))

    def at(self, field: str, time: str) -> EncodedQuery:
        """The field is that time of the instance's, to the second."""
        return self._add(field, "=", time, safe=is_time(time))

    def behind(self, sys_id: str) -> EncodedQuery:
        """The record comes behind that one in the order of sys_ids."""
        return self._add("sys_id", ">", sys_id, safe=is_sys_id(sys_id))

    def ordered_by(self, field: str, *, newest_first: bool = False) -> EncodedQuery:
        """In the order of a field."""
        return self._add("ORDERBYDESC" if newest_first else "ORDERBY", "", field, safe=_is_field(field))

    def _add(self, field: str, sign: str, value: str, *, safe: bool) -> EncodedQuery:
        return self._append(f"{field}{sign}{value}", field, safe=safe and (_is_field(field) or not sign))

    def _append(self, part: str, field: str, *, safe: bool) -> EncodedQuery:
        if not safe:
            raise UnsafeQuery(field)
        return EncodedQuery((*self._parts, part))


def _is_field(name: str) -> bool:
    return _FIELD.fullmatch(name) is not None
