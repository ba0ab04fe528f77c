"""What groups, items and users are called by the instance: names become sys_ids here, and nowhere in a query."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

import anyio

from ecproc.desk.servicenow.query import is_email, is_sys_id
from ecproc.desk.servicenow.wire import InstanceCall, RecordValues, find_user, read_page

ReadRows: TypeAlias = Callable[[InstanceCall], Awaitable[list[RecordValues]]]
"""Asks the instance for a list. Raises DeskUnavailable."""

KEPT_SECONDS: Final = 3600.0
"""How long a list, or what became of an address, is gone by."""
MOST_NAMES: Final = 200_000
"""Names of one list that are kept; those behind them are not found."""
_PAGE: Final = 1_000
_MOST_USERS: Final = 10_000


class _Source(NamedTuple):
    table: str
    field: str
    only_active: bool


_LISTS: Final[Mapping[str, _Source]] = {
    "group": _Source("sys_user_group", "name", only_active=True),
    "ci": _Source("cmdb_ci", "name", only_active=False),
}


class _Names(NamedTuple):
    ids: dict[str, str]
    until: float


class References:
    """The instance's names, each list read whole and kept for an hour. Names compare without case."""

    def __init__(self, read: ReadRows, monotonic: Callable[[], float]) -> None:
        self._read = read
        self._monotonic = monotonic
        self._lists: dict[str, _Names] = {}
        self._users: dict[str, tuple[str | None, float]] = {}
        self._reading = anyio.Lock()

    async def find(self, kind: str, name: str) -> str | None:
        """The sys_id of what has that name (a user: that e-mail address); None where there is none, or several users.

        A sys_id stands for itself. Raises DeskUnavailable.
        """
        if is_sys_id(name):
            return name
        if kind == "user":
            return await self._find_user(name.strip())
        async with self._reading:
            names = self._lists.get(kind)
            if names is None or self._monotonic() >= names.until:
                names = _Names(await self._read_list(_LISTS[kind]), self._monotonic() + KEPT_SECONDS)
                self._lists[kind] = names
        return names.ids.get(_fold(name))

    async def _read_list(self, source: _Source) -> dict[str, str]:
        """Every name of a table. Only a page without a row is the last one: what we may not see is cut out of pages."""
        ids: dict[str, str] = {}
        last = ""
        while len(ids) < MOST_NAMES:
            page = read_page(
                source.table, after=last, limit=_PAGE, fields=(source.field,), only_active=source.only_active
            )
            rows = [row for row in await self._read(page) if is_sys_id(row.get("sys_id", "")) and row["sys_id"] > last]
            if not rows:
                break
            for row in rows:
                ids.setdefault(_fold(row.get(source.field, "")), row["sys_id"])
            last = max(row["sys_id"] for row in rows)
        ids.pop("", None)
        return ids

    async def _find_user(self, email: str) -> str | None:
        if not is_email(email):
            return None
        known = self._users.get(_fold(email))
        if known is not None and self._monotonic() < known[1]:
            return known[0]
        rows = await self._read(find_user(email))
        ids = {row.get("sys_id", "") for row in rows if _fold(row.get("email", "")) == _fold(email)}
        found = ids.pop() if len(ids) == 1 else None
        while len(self._users) >= _MOST_USERS:
            del self._users[next(iter(self._users))]
        self._users[_fold(email)] = (found, self._monotonic() + KEPT_SECONDS)
        return found


def _fold(name: str) -> str:
    return " ".join(name.split()).casefold()
