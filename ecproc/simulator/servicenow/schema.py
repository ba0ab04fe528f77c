"""The instance's tables: which columns they have, what those refer to, and what a code is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from ecproc.simulator.servicenow import states


class FieldType(StrEnum):
    """How a column's values compare and are shown."""

    TEXT = "string"
    NUMBER = "integer"
    TRUTH = "boolean"
    TIME = "glide_date_time"
    REFERENCE = "reference"
    JOURNAL = "journal_input"


class FieldSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One column; `max_length` 0 cuts nothing, `choices` go from code to label."""

    type: FieldType = FieldType.TEXT
    refers: str = ""
    choices: Mapping[str, str] = {}
    max_length: int = 0
    default: str = ""


class TableSchema(msgspec.Struct, frozen=True, kw_only=True):
    """One table; `display` is the column that stands for a row where it is referred to."""

    name: str
    label: str
    fields: Mapping[str, FieldSpec]
    display: str = "number"
    prefix: str = ""
    first_number: int = 0

    @property
    def journals(self) -> Iterable[str]:
        """The columns whose texts are rows of sys_journal_field."""
        return [name for name in ENTRY_JOURNALS if name in self.fields]


ENTRY_JOURNALS: Final = ("comments", "work_notes")
BOTH_JOURNALS: Final = "comments_and_work_notes"
JOURNAL_LABELS: Final = {"comments": "Additional comments", "work_notes": "Work notes"}
TASK_TABLES: Final = ("incident", "change_request", "sc_req_item", "sn_customerservice_case")
SYSTEM_FIELDS: Final = frozenset(
    ("sys_id", "sys_mod_count", "sys_created_on", "sys_created_by", "sys_updated_on", "sys_updated_by")
)
"""Columns that only the platform writes."""

_CORRELATION: Final = 100
_LEVELS: Final = {"1": "1 - High", "2": "2 - Medium", "3": "3 - Low"}
_PRIORITIES: Final = {
    "1": "1 - Critical",
    "2": "2 - High",
    "3": "3 - Moderate",
    "4": "4 - Low",
    "5": "5 - Planning",
}
_APPROVALS: Final = {
    "not requested": "Not Yet Requested",
    "requested": "Requested",
    "approved": "Approved",
    "rejected": "Rejected",
}


def _texts(names: str, *, max_length: int = 0) -> dict[str, FieldSpec]:
    return {name: FieldSpec(max_length=max_length) for name in names.split()}


def _times(names: str) -> dict[str, FieldSpec]:
    return {name: FieldSpec(type=FieldType.TIME) for name in names.split()}


def _numbers(names: str, default: str = "0") -> dict[str, FieldSpec]:
    return {name: FieldSpec(type=FieldType.NUMBER, default=default) for name in names.split()}


def _truths(names: str, default: str = "false") -> dict[str, FieldSpec]:
    return {name: FieldSpec(type=FieldType.TRUTH, default=default) for name in names.split()}


def _references(**tables: str) -> dict[str, FieldSpec]:
    return {name: FieldSpec(type=FieldType.REFERENCE, refers=table) for name, table in tables.items()}


def _codes(choices: Mapping[str, str], default: str = "") -> FieldSpec:
    return FieldSpec(type=FieldType.NUMBER, choices=choices, default=default)


def _words(choices: Mapping[str, str], default: str = "") -> FieldSpec:
    return FieldSpec(choices=choices, default=default)


_SYSTEM: Final = {
    **_texts("sys_id sys_created_by sys_updated_by sys_tags"),
    **_times("sys_created_on sys_updated_on"),
    **_numbers("sys_mod_count"),
}
_JOURNAL: Final = FieldSpec(type=FieldType.JOURNAL)
_TASK: Final = {
    **_SYSTEM,
    **_texts("number sys_class_name sys_domain_path task_effective_number", max_length=40),
    **_texts("short_description", max_length=160),
    **_texts("description close_notes", max_length=4000),
    **_texts("correlation_id correlation_display", max_length=_CORRELATION),
    **_texts("watch_list work_notes_list group_list additional_assignee_list approval_history user_input time_worked"),
    **_texts("delivery_plan delivery_task rejection_goto wf_activity business_duration calendar_duration"),
    **_times("opened_at closed_at due_date activity_due sla_due expected_start work_start work_end follow_up"),
    **_times("approval_set"),
    **_numbers("reassignment_count escalation"),
    **_numbers("order", default=""),
    **_truths("knowledge"),
    **_truths("active made_sla", default="true"),
    **_references(
        opened_by="sys_user",
        closed_by="sys_user",
        assigned_to="sys_user",
        assignment_group="sys_user_group",
        cmdb_ci="cmdb_ci",
        business_service="cmdb_ci",
        parent="incident",
    ),
    **_texts("company location sys_domain service_offering contract universal_request route_reason skills variables"),
    "contact_type": FieldSpec(default="phone"),
    "upon_approval": FieldSpec(default="proceed"),
    "upon_reject": FieldSpec(default="cancel"),
    "approval": _words(_APPROVALS, "not requested"),
    "impact": _codes(_LEVELS, "3"),
    "urgency": _codes(_LEVELS, "3"),
    "priority": _codes(_PRIORITIES, "5"),
    "comments": _JOURNAL,
    "work_notes": _JOURNAL,
    BOTH_JOURNALS: _JOURNAL,
}
_CLOSE_CODES: Final = {
    "Solution provided": "Solution provided",
    "Workaround provided": "Workaround provided",
    "Resolved by caller": "Resolved by caller",
    "No resolution provided": "No resolution provided",
}
_INCIDENT: Final = {
    **_TASK,
    **_texts("business_stc calendar_stc business_impact cause subcategory"),
    **_times("resolved_at reopened_time"),
    **_numbers("reopen_count child_incidents"),
    **_references(
        caller_id="sys_user",
        resolved_by="sys_user",
        reopened_by="sys_user",
        parent_incident="incident",
        caused_by="change_request",
        rfc="change_request",
    ),
    **_texts("problem_id origin_id origin_table"),
    "category": _words({"inquiry": "Inquiry / Help", "software": "Software", "network": "Network"}, "inquiry"),
    "state": _codes(states.INCIDENT_LABELS, states.INCIDENT_FIRST),
    "incident_state": _codes(states.INCIDENT_LABELS, states.INCIDENT_FIRST),
    "severity": _codes(_LEVELS, "3"),
    "notify": _codes({"1": "Do Not Notify", "2": "Send Email", "3": "Phone"}, "1"),
    "hold_reason": _codes(states.HOLD_LABELS),
    "close_code": _words(_CLOSE_CODES),
}
_CHANGE: Final = {
    **_TASK,
    **_texts("justification implementation_plan backout_plan test_plan change_plan review_comments", max_length=4000),
    **_texts("risk_impact_analysis cab_recommendation on_hold_reason", max_length=4000),
    **_texts("reason cab_delegate cab_date_time chg_model std_change_producer_version on_hold_task phase"),
    **_texts("review_status proposed_change ci_class phase_state risk_value"),
    **_times("start_date end_date requested_by_date review_date conflict_last_run cab_date"),
    **_truths("is_bulk on_hold cab_required production_system outside_maintenance_schedule unauthorized"),
    **_references(requested_by="sys_user"),
    "category": FieldSpec(default="Other"),
    "type": _words({"normal": "Normal", "standard": "Standard", "emergency": "Emergency"}, "normal"),
    "state": _codes(states.CHANGE_LABELS, states.CHANGE_FIRST),
    "risk": _codes({"2": "High", "3": "Moderate", "4": "Low"}, "4"),
    "scope": _codes({"1": "Massive", "2": "Large", "3": "Medium", "4": "Small", "5": "Tiny"}, "3"),
    "conflict_status": FieldSpec(default="Not Run"),
    "close_code": _words(
        {
            "successful": "Successful",
            "successful_issues": "Successful with issues",
            "unsuccessful": "Unsuccessful",
        }
    ),
}
_ITEM: Final = {
    **_TASK,
    **_texts("cat_item request price recurring_price stage configuration_item order_guide", max_length=255),
    **_numbers("quantity", default="1"),
    **_truths("backordered billable"),
    **_references(requested_for="sys_user"),
    **_times("estimated_delivery"),
    "state": _codes(states.ITEM_LABELS, "1"),
}
_CASE: Final = {
    **_TASK,
    **_texts("account contact consumer product asset category subcategory cause", max_length=255),
    **_times("resolved_at"),
    **_references(resolved_by="sys_user"),
    "state": _codes(states.CASE_LABELS, "1"),
    "resolution_code": _words({"1": "Solved - Fixed by Support", "3": "Solved - Workaround Provided"}),
}

_PLAIN: Final = {
    "sys_user": (
        "User",
        "name",
        {**_texts("user_name name first_name last_name email title phone time_zone"), **_truths("active", "true")},
    ),
    "sys_user_group": (
        "Group",
        "name",
        {
            **_texts("name description email type"),
            **_truths("active", "true"),
            **_references(manager="sys_user", parent="sys_user_group"),
        },
    ),
    "sys_choice": (
        "Choice",
        "label",
        {**_texts("name element value label language"), **_numbers("sequence"), **_truths("inactive")},
    ),
    "cmdb_ci": (
        "Configuration Item",
        "name",
        {
            **_texts("name sys_class_name asset_tag serial_number ip_address category short_description"),
            **_numbers("install_status", "1"),
        },
    ),
    "sys_journal_field": ("Journal Entry", "element", _texts("name element element_id value")),
    "sys_attachment": (
        "Attachment",
        "file_name",
        {
            **_texts("file_name content_type table_name table_sys_id hash state encryption_context"),
            **_texts("average_image_color"),
            **_numbers("size_bytes size_compressed chunk_size_bytes"),
            **_numbers("image_height image_width", ""),
            **_truths("compressed", "true"),
        },
    ),
    "sysapproval_approver": (
        "Approval",
        "approver",
        {
            **_texts("source_table comments document_id wf_activity approval_source"),
            **_times("due_date expected_start"),
            **_references(approver="sys_user", sysapproval="change_request", group="sys_user_group"),
            "state": _words(
                {**_APPROVALS, "not_required": "No Longer Required", "cancelled": "Cancelled"}, "requested"
            ),
        },
    ),
}
_TASKS: Final = {
    "incident": ("Incident", _INCIDENT, "INC", 10_001),
    "change_request": ("Change Request", _CHANGE, "CHG", 30_001),
    "sc_req_item": ("Requested Item", _ITEM, "RITM", 10_001),
    "sn_customerservice_case": ("Case", _CASE, "CS", 1_001),
}


def make_schemas(missing: frozenset[str] = frozenset()) -> dict[str, TableSchema]:
    """Give every table by its name, without the columns that are missing on this instance."""
    tasks = {
        name: TableSchema(name=name, label=label, fields=_without(fields, missing), prefix=prefix, first_number=first)
        for name, (label, fields, prefix, first) in _TASKS.items()
    }
    plain = {
        name: TableSchema(name=name, label=label, display=display, fields=_without({**_SYSTEM, **fields}, missing))
        for name, (label, display, fields) in _PLAIN.items()
    }
    return tasks | plain


def _without(fields: Mapping[str, FieldSpec], missing: frozenset[str]) -> dict[str, FieldSpec]:
    return {name: field for name, field in fields.items() if name not in missing or name in SYSTEM_FIELDS}
