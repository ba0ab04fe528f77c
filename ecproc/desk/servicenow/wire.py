"""Requests to a ServiceNow instance, and its answers as values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from ecproc.desk.servicenow.query import EncodedQuery, UnsafeQuery, is_key, is_sys_id

TABLE_PATH: Final = "/api/now/table/"
ATTACHMENT_PATH: Final = "/api/now/attachment"
IMPORT_PATH: Final = "/api/now/import/"
CHANGE_PATH: Final = "/api/sn_chg_rest/change"
TOKEN_PATH: Final = "/oauth_token.do"  # noqa: S105 - a path
JOURNALS: Final = "sys_journal_field"
APPROVERS: Final = "sysapproval_approver"
JOURNAL_FIELDS: Final = ("comments", "work_notes")
"""Fields whose texts are kept elsewhere: a record's own answer has them empty."""

OWN_FIELDS: Final = ("sys_id", "number", "state", "sys_mod_count", "sys_updated_on", "sys_updated_by", "sys_created_on")
_ROWS: Final = 5
_CHOICES: Final = 1_000
_JOURNAL_ROWS: Final = 200
_ATTACHMENT_ROWS: Final = 500

RecordValues = Mapping[str, str]
"""A record's raw values by field."""


class InstanceCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call: its path is percent-encoded already, `params` are not. `query` is the only way to a `sysparm_query`.

    `repeatable`: doing it twice is doing it once.
    """

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    query: EncodedQuery | None = None
    body: Mapping[str, str] | None = None
    repeatable: bool = True

    @property
    def target(self) -> str:
        """Path and query as they stand in the request line."""
        params = [("sysparm_query", str(self.query)), *self.params] if self.query is not None else [*self.params]
        return f"{self.path}?{urlencode(params, quote_via=quote, safe='')}" if params else self.path

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing."""
        return self.method == "GET"

    @property
    def told(self) -> dict[str, str]:
        """What outcomes keep of it (R202): the parameters may hold a file's name."""
        return {"method": self.method, "path": self.path}


class Display(msgspec.Struct, frozen=True, kw_only=True):
    """How records of ours are marked: the look-up key's field, and another one with a constant text."""

    key_field: str
    display_field: str
    display: str

    def mark(self, key: str) -> dict[str, str]:
        """The fields that make a record ours."""
        return {self.key_field: key, self.display_field: self.display}


def create(table: str, body: RecordValues, *, key_field: str, heard: Iterable[str] = ()) -> InstanceCall:
    """Make a record, whose answer has the fields that are `heard` of too. There is no upsert: a second one makes a
    second record."""
    shape = _shape(key_field, [*body, *heard])
    return InstanceCall(method="POST", path=_table(table), params=shape, body=dict(body), repeatable=False)


def create_change(kind: str, body: RecordValues, *, template: str = "") -> InstanceCall:
    """Make a change by the API that knows its models; a standard one from a template."""
    path = f"{CHANGE_PATH}/{'standard/' + _id(template) if template else quote(kind, safe='')}"
    return InstanceCall(method="POST", path=path, body=dict(body), repeatable=False)


def patch(
    table: str, sys_id: str, body: RecordValues, *, key_field: str, heard: Iterable[str] = (), repeatable: bool = True
) -> InstanceCall:
    """Set fields of a record, whose answer has them and those that are `heard` of."""
    path = f"{_table(table)}/{_id(sys_id)}"
    shape = _shape(key_field, [*body, *heard])
    return InstanceCall(method="PATCH", path=path, params=shape, body=dict(body), repeatable=repeatable)


def read(table: str, sys_id: str, *, key_field: str, fields: Iterable[str] = ()) -> InstanceCall:
    """Read a record."""
    return InstanceCall(method="GET", path=f"{_table(table)}/{_id(sys_id)}", params=_shape(key_field, fields))


def read_next_states(sys_id: str) -> InstanceCall:
    """Ask which states a change may go to."""
    return InstanceCall(method="GET", path=f"{CHANGE_PATH}/{_id(sys_id)}/nextstates")


def find_by_key(table: str, key: str, marks: Display, *, fields: Iterable[str] = ()) -> InstanceCall:
    """Find records by our key, the oldest first. What comes has to be compared: conditions may be ignored."""
    query = EncodedQuery().where_key(marks.key_field, key).where_constant(marks.display_field, marks.display)
    return _list(table, query.ordered_by("sys_created_on"), _ROWS, _shape(marks.key_field, [*fields, *marks.mark("")]))


def find_by_number(table: str, number: str, *, key_field: str) -> InstanceCall:
    """Find a record by its number."""
    return _list(table, EncodedQuery().where_number(number), _ROWS, _shape(key_field, ()))


def read_any(table: str, fields: Iterable[str]) -> InstanceCall:
    """Read some record, to see which fields it shows."""
    return _list(table, EncodedQuery().ordered_by("sys_created_on", newest_first=True), 1, _only(*fields))


def read_shown(table: str, field: str) -> InstanceCall:
    """Read a field of some record both raw and as our user is shown it."""
    query = EncodedQuery().ordered_by("sys_created_on", newest_first=True)
    shape = (("sysparm_fields", field), ("sysparm_display_value", "all"))
    return _list(table, query, 1, shape)


def read_choices(table: str, field: str) -> InstanceCall:
    """Read what a field of a table may be."""
    query = EncodedQuery().where_constant("name", table).where_constant("element", field)
    return _list("sys_choice", query.ordered_by("sys_id"), _CHOICES, _only("value", "label", "inactive", "language"))


def read_property(name: str) -> InstanceCall:
    """Read a setting of the instance."""
    query = EncodedQuery().where_constant("name", name)
    return _list("sys_properties", query, _ROWS, _only("name", "value"))


def read_journal(sys_id: str, field: str) -> InstanceCall:
    """Read the newest entries of a record's journal."""
    query = EncodedQuery().where_id("element_id", sys_id).where_constant("element", field)
    shape = _only("sys_id", "value", "sys_created_by", "sys_created_on")
    return _list(JOURNALS, query.ordered_by("sys_created_on", newest_first=True), _JOURNAL_ROWS, shape)


def read_journal_text(table: str, sys_id: str, field: str) -> InstanceCall:
    """Read a record's journal as one text, for a user who may not read its entries."""
    params = (("sysparm_display_value", "all"), ("sysparm_fields", field))
    return InstanceCall(method="GET", path=f"{_table(table)}/{_id(sys_id)}", params=params)


def comment(table: str, sys_id: str, field: str, text: str) -> InstanceCall:
    """Add to a record's journal."""
    path = f"{_table(table)}/{_id(sys_id)}"
    return InstanceCall(
        method="PATCH", path=path, params=_only("sys_id", "number", "state"), body={field: text}, repeatable=False
    )


def attach(table: str, sys_id: str, name: str) -> InstanceCall:
    """Attach a file, whose bytes are the request's body."""
    params = (("table_name", table), ("table_sys_id", _id(sys_id)), ("file_name", name))
    return InstanceCall(method="POST", path=f"{ATTACHMENT_PATH}/file", params=params, repeatable=False)


def read_attachments(sys_id: str) -> InstanceCall:
    """Read what is attached to a record, the newest first."""
    query = EncodedQuery().where_id("table_sys_id", sys_id).ordered_by("sys_created_on", newest_first=True)
    params = (("sysparm_limit", str(_ATTACHMENT_ROWS)),)
    return InstanceCall(method="GET", path=ATTACHMENT_PATH, params=params, query=query)


def ask_approver(change: str, approver: str) -> InstanceCall:
    """Ask a user to approve a change, both given by sys_id."""
    body = {"sysapproval": change, "approver": approver, "state": "requested", "source_table": "change_request"}
    params = _only("sys_id", "sysapproval", "approver", "state")
    return InstanceCall(method="POST", path=_table(APPROVERS), params=params, body=body, repeatable=False)


def read_approvers(change: str) -> InstanceCall:
    """Read who was asked to approve a change."""
    query = EncodedQuery().where_id("sysapproval", change).ordered_by("sys_created_on")
    return _list(APPROVERS, query, _JOURNAL_ROWS, _only("sys_id", "sysapproval", "approver", "state"))


def find_user(email: str) -> InstanceCall:
    """Find the active users of an address. Raises UnsafeQuery for one that may not be asked for."""
    query = EncodedQuery().where_email("email", email).where_constant("active", "true")
    return _list("sys_user", query, _ROWS, _only("sys_id", "email"))


def read_page(table: str, *, after: str, limit: int, fields: Iterable[str], only_active: bool) -> InstanceCall:
    """Read a page of a table in the order of sys_ids, behind that one. Only a page without a row is the last: rows that
    the user may not see are taken out of a page after it was cut."""
    query = EncodedQuery()
    query = query.where_constant("active", "true") if only_active else query
    query = query.behind(after) if after else query
    return _list(table, query.ordered_by("sys_id"), limit, _only("sys_id", *fields))


def list_rows(table: str, query: EncodedQuery, *, fields: Iterable[str], limit: int) -> InstanceCall:
    """Read these fields of the records that a query finds."""
    return _list(table, query, limit, _only("sys_id", *fields))


def read_content(attachment: str) -> InstanceCall:
    """Read what an attached file holds."""
    return InstanceCall(method="GET", path=f"{ATTACHMENT_PATH}/{_id(attachment)}/file")


def import_row(staging: str, body: RecordValues, *, repeatable: bool = True) -> InstanceCall:
    """Put a row into a staging table, whose transform map finds the record by our key."""
    return InstanceCall(
        method="POST", path=f"{IMPORT_PATH}{_table_name(staging)}", body=dict(body), repeatable=repeatable
    )


def page_of(base: str, table: str, sys_id: str) -> str:
    """Where a person sees the record."""
    return f"{base}/nav_to.do?uri={quote(f'{table}.do?sys_id={sys_id}', safe='')}"


class _Result(msgspec.Struct):
    result: Any = None


class _Error(msgspec.Struct):
    message: str | None = None
    detail: str | None = None


class _Failure(msgspec.Struct):
    error: _Error | str | None = None
    error_description: str | None = None


_decode_result = msgspec.json.Decoder(_Result).decode
_decode_failure = msgspec.json.Decoder(_Failure).decode
_LONGEST_ERROR: Final = 500


def read_result(body: bytes) -> Any:
    """The `result` of an answer; None where the body is no whole JSON or has none."""
    try:
        return _decode_result(body).result
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def read_row(found: Any) -> RecordValues | None:
    """A record of an answer; None where it is none. A reference counts as the id that it names, and where both a raw
    and a shown value stand, the raw one counts."""
    if not isinstance(found, dict):
        return None
    return {name: _flatten(value) for name, value in found.items()}


def read_rows(found: Any) -> list[RecordValues] | None:
    """The records of an answer that lists them; None where it lists none."""
    if not isinstance(found, list):
        return None
    return [row for each in found if (row := read_row(each)) is not None]


def read_error(body: bytes) -> str:
    """What an answer says is wrong, on one line and bounded; empty where it is no error of ServiceNow's."""
    try:
        failure = _decode_failure(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if isinstance(failure.error, _Error):
        parts = [failure.error.message or "", failure.error.detail or ""]
    else:
        parts = [failure.error or "", failure.error_description or ""]
    words = ": ".join(part for part in dict.fromkeys(" ".join(part.split()) for part in parts) if part)
    return words[:_LONGEST_ERROR]


def _flatten(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("value", "")
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _table(name: str) -> str:
    return f"{TABLE_PATH}{_table_name(name)}"


def _table_name(name: str) -> str:
    if not is_key(name):
        raise UnsafeQuery("the table")
    return name


def _id(sys_id: str) -> str:
    if not is_sys_id(sys_id):
        raise UnsafeQuery("sys_id")
    return sys_id


def _shape(key_field: str, fields: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The parameters that ask for raw values of these fields and those that every answer is judged by."""
    return _only(*OWN_FIELDS, key_field, *(name for name in fields if name not in JOURNAL_FIELDS))


def _only(*fields: str) -> tuple[tuple[str, str], ...]:
    names = ",".join(dict.fromkeys(fields))
    return (("sysparm_fields", names), ("sysparm_exclude_reference_link", "true"))


def _list(table: str, query: EncodedQuery, limit: int, shape: tuple[tuple[str, str], ...]) -> InstanceCall:
    return InstanceCall(method="GET", path=_table(table), params=(("sysparm_limit", str(limit)), *shape), query=query)
