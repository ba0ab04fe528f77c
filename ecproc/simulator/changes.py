"""The plots of changes (R145-R194): the ten rows of the guide's scenario table, the other types, and the odd ways."""

from __future__ import annotations

from collections.abc import Callable

from ecproc.simulator.script import Script, Setting
from ecproc.simulator.texts import CHANGES, CLOSE_NOTES, GROUPS, PEOPLE

KEPT = (
    *("type", "shortDescription", "description", "risk", "impact", "category", "group", "startDate", "backoutPlan"),
    "approval",
)
FIRST_STATES = {"Normal": "Assess", "Standard": "Scheduled", "Emergency": "Authorize"}
PATH = ("Assess", "Authorize", "Scheduled", "Implement", "Review")
WORDS = {"New": "Draft"}


class ChangeScript(Script):
    """One change as Ensono's people work on it; states are named as on the wire."""

    def __init__(self, world: Setting, *, ticket: str, type_name: str, client_number: str = "") -> None:
        super().__init__(world, ticket=ticket, kind="Change", client_number=client_number)
        short, description = self.rng.choice(CHANGES)
        group, ensono_group = self.rng.choice(GROUPS)
        self.type_name = type_name
        self._fields = {
            "group": group,
            "ensonoGroup": ensono_group,
            "openedAt": self.tell_time(),
            "requestedByName": self.rng.choice(PEOPLE)[0],
            "shortDescription": short,
            "type": type_name,
            "category": self.rng.choice(("Other", "Network", "Patching", "System Software")),
            "approval": "not requested",
            "startDate": self.tell_time(later=5 * 86400),
            "endDate": self.tell_time(later=5 * 86400 + 7200),
            "risk": self.rng.choice(("Low", "Moderate", "High")),
            "impact": self.rng.choice(("Low", "Medium", "High")),
            "description": description,
            "justification": "Vendor support ends this quarter.",
            "preChangeChecks": "1. Backup is younger than 24 h.\n2. No open priority 1 incident.",
            "implementationPlan": "As in run book 114, steps 1-9.",
            "testPlan": "Smoke test by the application owner.",
            "backoutPlan": "Re-activate the old component; 15 minutes.",
            "priority": "4",
            "cis": self.rng.choice(("2000", "sw-core-02", "PRD2,PRD3")),
        }

    def start(self) -> None:
        """Send the first message, in the state that the change's type begins with (R145-R147)."""
        self._fields["approval"] = "requested" if self.type_name == "Normal" else "approved"
        self._send("Create", FIRST_STATES[self.type_name])
        self._create()

    def adopt(self, transaction: str, state: str) -> None:
        """Let the first message be something else than a Create; one in Draft creates nothing yet (R67)."""
        self._send(transaction, state)
        self.anomalies.append("adopted")
        if state != "New":
            self._create()

    def move(self, state: str, transaction: str = "Update") -> None:
        """Go to another state; edits made meanwhile show in the same message (R148, R158)."""
        if self.rng.random() < 0.3:
            self._fields["startDate"] = self.tell_time(later=9 * 86400)
            self._fields["backoutPlan"] = "Restore from snapshot; 40 minutes."
        self._send(transaction, state)

    def approve(self) -> None:
        """Show from now on that the client approved."""
        self._fields["approval"] = "approved"

    def reject(self) -> None:
        """Show from now on that the client rejected."""
        self._fields["approval"] = "rejected"

    def redraft(self) -> None:
        """Go back to New (R166)."""
        self._fields["approval"] = "not requested"
        self._send("Redraft", "New")

    def submit_again(self) -> None:
        """Leave New once more: a new generation, whatever the message calls itself (C20, R189)."""
        self._fields["approval"] = "requested"
        self._send(self.rng.choice(("Create", "Update")), FIRST_STATES[self.type_name])
        self.generation += 1
        self._create()

    def request_approvals(self, count: int) -> None:
        """Ask this many external approvers (R149, R165)."""
        for _ in range(count):
            name, email = self.rng.choice(PEOPLE)
            approval_id = self.make_id()
            self.approvals.append(approval_id)
            body = {
                **self.identity(),
                **{member: self._fields[member] for member in ("group", "ensonoGroup", "description")},
                "state": "Assess",
                "approvalState": "Requested",
                "approvalId": approval_id,
                "approverName": name,
                "approverEmail": email,
            }
            self.say("Approval Request", body)

    def note(self) -> None:
        """Comment; the full body may show any state, and a note never moves it (R168)."""
        shown = self.rng.choice(("Review", self._state))
        body = {**self._write_body(shown), "risk": self.rng.choice(("Low", "High")), "notes": self.write_note()}
        self.say("Notes", body)

    def add_file(self) -> None:
        """Publish an attachment."""
        self.attach(self._fields["group"])

    def pass_through(self, *states: str) -> None:
        """Go through these states, with a comment here and there."""
        for state in states:
            self.move(state)
            if self.rng.random() < 0.3:
                self.note()

    def close(self, code: str) -> None:
        """Close with one of the four codes (R161, R169)."""
        closing = {"closeNotes": self.rng.choice(CLOSE_NOTES), "closeCode": code}
        self._fields.update(closing)
        self._send("Closure", "Closed")
        self.known.update(closing)

    def cancel(self) -> None:
        """Cancel; the guide doesn't say by which TransactionType (R170)."""
        self._send(self.rng.choice(("Update", "Closure")), "Cancelled")

    def _create(self) -> None:
        self.created += self.generation > 1 or not self.identity()["clientTicketNumber"]

    def _send(self, transaction: str, state: str) -> None:
        self._state = state
        self.known.update({name: self._fields[name] for name in KEPT})
        self.say(transaction, self._write_body(state), md5=transaction != "Closure")
        self.enter(WORDS.get(state, state))

    def _write_body(self, state: str) -> dict[str, object]:
        updated = self.rng.choice(("", self.tell_time()))
        return {**self.identity(), **self._fields, "state": state, "updatedOn": updated}


def begin_normally(change: ChangeScript) -> None:
    """Send what a Normal change with external approvers begins with."""
    change.start()
    change.request_approvals(change.rng.randrange(1, 4))
    if change.rng.random() < 0.4:
        change.add_file()


def close_after_approval(code: str) -> Callable[[ChangeScript], None]:
    """Rows 1-3, and the close code that the table leaves out (C17)."""

    def live(change: ChangeScript) -> None:
        begin_normally(change)
        change.approve()
        change.pass_through("Authorize", "Scheduled", "Implement", "Review")
        change.close(code)

    return live


def be_rejected_by_ensono(change: ChangeScript) -> None:
    """Row 4: approved by the client, rejected by Ensono, moved to New."""
    begin_normally(change)
    change.approve()
    change.move("Authorize")
    change.reject()
    change.move("New", "Redraft")


def be_cancelled_after_approval(change: ChangeScript) -> None:
    """Row 5."""
    begin_normally(change)
    change.approve()
    change.pass_through("Authorize", "Scheduled")
    change.cancel()


def be_redrafted(change: ChangeScript) -> None:
    """Row 6: approved, then moved to New."""
    begin_normally(change)
    change.approve()
    change.pass_through(*PATH[1 : change.rng.randrange(2, 6)])
    change.redraft()


def be_submitted_again(change: ChangeScript) -> None:
    """Row 7: New, then Assess again: generation 2, run to its end."""
    be_redrafted(change)
    change.submit_again()
    change.request_approvals(2)
    change.approve()
    change.pass_through("Authorize", "Scheduled", "Implement", "Review")
    change.close("Successful")


def be_cancelled_after_rejection(change: ChangeScript) -> None:
    """Row 8."""
    begin_normally(change)
    change.reject()
    change.note()
    change.cancel()


def be_redrafted_after_rejection(change: ChangeScript) -> None:
    """Row 9."""
    begin_normally(change)
    change.reject()
    change.note()
    change.redraft()


def be_submitted_after_rejection(change: ChangeScript) -> None:
    """Row 10."""
    be_redrafted_after_rejection(change)
    change.submit_again()
    change.request_approvals(1)


def reach_generation_three(change: ChangeScript) -> None:
    """Redrafted twice."""
    be_redrafted(change)
    change.submit_again()
    change.request_approvals(1)
    change.redraft()
    change.submit_again()
    change.request_approvals(1)
    change.approve()
    change.pass_through("Authorize")


def miss_redraft(change: ChangeScript) -> None:
    """S32: Review, then Assess without a Redraft in between counts as a missed one."""
    begin_normally(change)
    change.approve()
    change.pass_through("Authorize", "Scheduled", "Implement", "Review")
    change.submit_again()
    change.anomalies.append("backward_state")


def skip_state(change: ChangeScript) -> None:
    """A message is missing: Authorize, then Implement (R194)."""
    begin_normally(change)
    change.approve()
    change.pass_through("Authorize", "Implement", "Review")
    change.close("Successful")
    change.anomalies.append("skipped_state")


def live_as_standard(change: ChangeScript) -> None:
    """S28: begins Scheduled; half of them are redrafted once."""
    change.start()
    change.add_file()
    if change.rng.random() < 0.5:
        change.redraft()
        change.submit_again()
    change.pass_through("Implement", "Review")
    change.close("Successful")


def live_as_emergency(change: ChangeScript) -> None:
    """S29: begins Authorize."""
    change.start()
    change.pass_through("Scheduled", "Implement", "Review")
    change.close("Successful with issues")


def begin_midway(change: ChangeScript) -> None:
    """The first message is not a Create; a client number in it is adopted."""
    change.adopt("Update", "Scheduled")
    change.pass_through("Implement", "Review")
    change.close("Unsuccessful")


def begin_in_draft(change: ChangeScript) -> None:
    """First seen in Draft: generation 1 creates nothing until it leaves."""
    change.adopt("Redraft", "New")
    change.note()


def begin_in_draft_and_leave(change: ChangeScript) -> None:
    """First seen in Draft, then submitted: still generation 1."""
    begin_in_draft(change)
    change.generation -= 1
    change.submit_again()
    change.request_approvals(1)


def be_asked_late(change: ChangeScript) -> None:
    """An approval request after Assess does not move the change back."""
    begin_normally(change)
    change.move("Authorize")
    change.request_approvals(1)
    change.note()


def be_noted_after_close(change: ChangeScript) -> None:
    """S6 for a change: a comment after the end is kept and flagged."""
    live_as_emergency(change)
    change.note()
    change.anomalies.append("after_final")


def go_on_after_approval(change: ChangeScript) -> None:
    """Row 1 behind the client's approval."""
    change.approve()
    change.pass_through("Authorize", "Scheduled", "Implement", "Review")
    change.close("Successful")


def go_on_after_rejection(change: ChangeScript) -> None:
    """Row 8 behind the client's rejection."""
    change.reject()
    change.cancel()


STORIES: dict[str, tuple[int, Callable[[ChangeScript], None]]] = {
    "row-1": (2, close_after_approval("Successful")),
    "row-2": (1, close_after_approval("Successful with issues")),
    "row-3": (1, close_after_approval("Unsuccessful")),
    "row-outside-window": (1, close_after_approval("Successful Outside Change Window")),
    "row-4": (1, be_rejected_by_ensono),
    "row-5": (1, be_cancelled_after_approval),
    "row-6": (1, be_redrafted),
    "row-7": (1, be_submitted_again),
    "row-8": (1, be_cancelled_after_rejection),
    "row-9": (1, be_redrafted_after_rejection),
    "row-10": (1, be_submitted_after_rejection),
    "change-generation-3": (1, reach_generation_three),
    "change-missed-redraft": (1, miss_redraft),
    "change-skipped": (1, skip_state),
    "change-standard": (2, live_as_standard),
    "change-emergency": (2, live_as_emergency),
    "change-midway": (1, begin_midway),
    "change-numbered": (1, begin_midway),
    "change-draft": (1, begin_in_draft),
    "change-draft-left": (1, begin_in_draft_and_leave),
    "change-late-approval": (1, be_asked_late),
    "change-late-note": (1, be_noted_after_close),
}
"""Every plot with its share of a deck; those with a client number from the start are in NUMBERED."""
NUMBERED = ("change-numbered",)
TYPES = {"change-standard": "Standard", "change-emergency": "Emergency", "change-late-note": "Emergency"}
