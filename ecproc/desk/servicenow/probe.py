"""`ecproc desk check` for a ServiceNow desk: whether the instance lets us do all that the desk needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from ecproc.config.servicenow import ServiceNowConfig
from ecproc.desk.base import DeskRefused, DeskUnavailable
from ecproc.desk.finding import DeskCheck, DeskFinding
from ecproc.desk.servicenow.answers import read_list
from ecproc.desk.servicenow.choices import read_list_of
from ecproc.desk.servicenow.instance import InstanceLink
from ecproc.desk.servicenow.proof import prove_writing
from ecproc.desk.servicenow.tokens import OAUTH
from ecproc.desk.servicenow.wire import JOURNALS, TOKEN_PATH, RecordValues, read_any, read_property, read_shown
from ecproc.mapping.rules import Direction
from ecproc.mapping.tables import Mapping as FieldMapping

CLOCK_OFF: Final = 60.0
"""Seconds from which the two clocks are too far apart: a token's end and what Retry-After means go by them."""
_READ: Final[Mapping[str, str]] = {
    JOURNALS: "a note whose answer got lost is not looked up there, and its entry waits for a person",
    "sys_attachment": "a file whose answer got lost cannot be looked up",
    "sys_user_group": "groups cannot be found by their names",
    "sys_choice": "the mapping's lists cannot be held against the instance's",
}
_TYPES: Final = ("incident", "request", "change")
_LIMIT: Final = "com.glide.attachment.max_size"
_EXTENSIONS: Final = "glide.attachment.extensions"
_RIGHTS_FIX: Final = "give the user the roles that docs/servicenow.md lists"
_SECOND: Final = 1_000_000


async def check(
    instance: InstanceLink, config: ServiceNowConfig, mapping: FieldMapping, *, nonce: str, write: bool
) -> DeskCheck:
    """What is wrong with the instance for us, and what was taken for granted. With `write` a record of each table is
    made, worked on and brought to its end, under a key of that `nonce`. Nothing is raised."""
    looking = _Looking(instance, config, mapping)
    if await looking.try_to("reach", looking.reach):
        for name, look in looking.list_looks():
            await looking.try_to(name, look)
        if write:
            for ticket_type, table in looking.tables.items():
                found = await prove_writing(instance, ticket_type, table, nonce=nonce)
                looking.findings += found
    looking.tell_assumptions()
    return DeskCheck(tuple(looking.findings), tuple(looking.notes))


class _Looking:
    """One look at an instance."""

    def __init__(self, instance: InstanceLink, config: ServiceNowConfig, mapping: FieldMapping) -> None:
        self._at = instance
        self._config = config
        self._mapping = mapping
        self.tables = {name: instance.places.table_for(name)[0] for name in _TYPES}
        self.findings: list[DeskFinding] = []
        self.notes: list[str] = []

    def list_looks(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """What is looked at besides whether there is an answer at all."""
        return [
            ("rights", self.rights),
            ("key", self.keys),
            ("zone", self.zone),
            ("choices", self.choices),
            ("files", self.files),
        ]

    async def try_to(self, name: str, look: Callable[[], Awaitable[None]]) -> bool:
        """Whether a look came to its end; what it raises is a finding."""
        try:
            await look()
        except (DeskUnavailable, DeskRefused) as error:
            is_login = error.call.get("path") == TOKEN_PATH or error.call.get("status") == "401"
            fix = error.hint or "see desk.servicenow.url and what answers there, and ask again"
            self.findings.append(DeskFinding("auth" if is_login else name, "error", str(error), fix))
            return False
        return True

    async def reach(self) -> None:
        """An answer at all, authenticated, and what its clock says."""
        request = read_any("sys_user_group", ("sys_id",))
        seen = await self._at.session.send(request)
        if seen.status != 403:
            read_list(request, seen)
        off = 0.0 if seen.date is None else (seen.at - seen.date) / _SECOND
        if abs(off) > CLOCK_OFF:
            text = f"this machine's clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the instance's"
            fix = "let a time service (chrony, systemd-timesyncd) set it"
            self.findings.append(DeskFinding("clock", "warning", text, fix))
        life = self._at.session.tokens.life
        if self._config.auth in OAUTH and life is not None:
            self.notes.append(f"the token ends in {life:.0f} s, and is renewed before")

    async def rights(self) -> None:
        """Tables that must be read."""
        for table, why in {**dict.fromkeys(self.tables.values(), "no client ticket can be worked on"), **_READ}.items():
            if await self._read_some(table, "sys_id") is None:
                text = f"our user may not read {table}: {why}"
                is_ours = table in self.tables.values()
                self.findings.append(DeskFinding("rights", "error" if is_ours else "warning", text, _RIGHTS_FIX))

    async def keys(self) -> None:
        """Whether records show the two fields that mark them as ours."""
        marks = self._at.marks
        for table in dict.fromkeys(self.tables.values()):
            row = await self._read_some(table, marks.key_field, marks.display_field)
            if row == {}:
                self.notes.append(f"{table} shows no record, so whether it has {marks.key_field} is not known")
            for field in (marks.key_field, marks.display_field) if row else ():
                if field not in (row or {}):
                    text = f"records of {table} do not show {field}: none could be found again"
                    self.findings.append(
                        DeskFinding("key", "error", text, f"see whether {table} has it, and {_RIGHTS_FIX}")
                    )

    async def zone(self) -> None:
        """Whether our user is shown times as they are stored."""
        found = await self._at.calls.result(read_shown(self.tables["incident"], "sys_created_on"))
        shown = (
            found[0].get("sys_created_on") if isinstance(found, list) and found and isinstance(found[0], dict) else None
        )
        if isinstance(shown, dict) and shown.get("value") != shown.get("display_value"):
            text = "our user is shown times otherwise than they are stored: its zone is not GMT, or its format another"
            self.findings.append(DeskFinding("zone", "warning", text, "set the user's time zone to GMT"))

    async def choices(self) -> None:
        """Whether the mapping's closed lists are the instance's."""
        for ticket_type, lists in self._mapping.choices.items():
            table = self.tables.get(ticket_type)
            for field, words in lists.items() if table else ():
                known = await read_list_of(self._at.calls, table or "", field)
                if not known:
                    self.notes.append(f"the instance lists no choices of {table}.{field}")
                else:
                    self._compare(f"{table}.{field}", set(words), known, sent=self._list_sent(ticket_type, field))

    async def files(self) -> None:
        """What the instance takes as an attachment."""
        for name, meaning in ((_LIMIT, "attachments may have {} MB"), (_EXTENSIONS, "attachments may be: {}")):
            try:
                rows = await self._at.calls.rows(read_property(name))
            except (DeskUnavailable, DeskRefused):
                rows = []
            value = next((row.get("value", "") for row in rows if row.get("name") == name), "")
            self.notes.append(meaning.format(value[:200]) if value else f"{name} cannot be read, or is not set")

    def tell_assumptions(self) -> None:
        """What nobody can ask an instance for."""
        config = self._config
        self.notes.append(
            f"its REST quota is taken to be {config.quota_seconds:g} s: look-ups wait {config.settles_after:g} s"
        )

    def _list_sent(self, ticket_type: str, field: str) -> set[str]:
        """The codes that the mapping sends in a field."""
        rules = self._mapping.chains.get((Direction.TO_DESK, ticket_type), {}).get(field, ())
        return {code for rule in rules for code in (*rule.rows.values(), rule.default) if code is not None}

    def _compare(self, name: str, ours: set[str], theirs: Mapping[str, str], *, sent: set[str]) -> None:
        fix = "ecproc map choices prints the instance's lists: put them into the mapping and prove it"
        if missing := sorted(ours - theirs.keys()):
            text = f"the instance has no {', '.join(missing)} in {name}, which the mapping has"
            self.findings.append(DeskFinding("choices", "warning" if sent.isdisjoint(missing) else "error", text, fix))
        if unknown := sorted(f"{code} ({label[:40]})" for code, label in theirs.items() if code not in ours):
            text = f"the mapping does not have {', '.join(unknown[:20])} of {name}"
            self.findings.append(DeskFinding("choices", "warning", text, fix))

    async def _read_some(self, table: str, *fields: str) -> RecordValues | None:
        """A record of a table, empty where it shows none; None where we may not read it."""
        try:
            rows = await self._at.calls.rows(read_any(table, fields))
        except DeskUnavailable as error:
            if error.call.get("status") in ("403", "404"):
                return None
            raise
        return rows[0] if rows else {}
