"""The plots of incidents and requests (R69-R80): each step sends a message and says what must follow from it."""

from __future__ import annotations

from collections.abc import Callable

from ecproc.simulator.script import Script, Setting
from ecproc.simulator.texts import CLOSE_NOTES, GROUPS, TROUBLES

KEPT = ("description", "shortDescription", "group", "priority", "impact", "urgency", "category", "origin", "cis")


class CaseScript(Script):
    """One incident or request as Ensono's people work on it."""

    def __init__(self, world: Setting, *, ticket: str, client_number: str = "") -> None:
        kind = world.rng.choice(("Incident", "Incident", "Request"))
        super().__init__(world, ticket=ticket, kind=kind, client_number=client_number)
        short, description = self.rng.choice(TROUBLES)
        group, ensono_group = self.rng.choice(GROUPS)
        self.status = "open"
        self._opened = self.tell_time()
        self._closing: dict[str, str] = {}
        self._fields = {
            "description": description,
            "shortDescription": short,
            "group": group,
            "ensonoGroup": ensono_group,
            "priority": self.rng.choice("1234"),
            "impact": self.rng.choice("123"),
            "urgency": self.rng.choice("123"),
            "category": self.rng.choice(("", "Private Cloud", "Mainframe / Mid-range")),
            "origin": self.rng.choice(("Web", "Email", "Event")),
            "cis": self.rng.choice(("", "PRD2", "sw-core-02,sw-core-03")),
        }

    def create(self) -> None:
        """Open the ticket; a client number that Ensono already has is adopted, else the client creates its own."""
        self.say("Create", self._write_body())
        self._begin()

    def adopt(self, transaction: str, status: str) -> None:
        """Let the first message be something else than a Create: its body is taken over (R67)."""
        self.status = status
        if status == "resolved":
            self._closing = self._pick_closing()
            self.known.update(self._closing)
        body = {**self._write_body(), "updatedOn": self.tell_time()}
        if transaction == "Notes":
            body["notes"] = self.write_note()
        else:
            body["changed"] = {"updatedOn": self.tell_time(), "status": status, **self._closing}
        self.say(transaction, body)
        self._begin()
        self.anomalies.append("adopted")

    def return_number(self) -> None:
        """Let the first message be ReturnEnsonoNum, which names neither status nor fields (R74)."""
        self.say("ReturnEnsonoNum", self.identity())
        self.enter("open")
        self.anomalies.append("adopted")

    def update(self) -> None:
        """Change one field in one of the three ways an update is written (R61, R63)."""
        changed = self._pick_change()
        self._fields.update(changed)
        self.known.update({name: value for name, value in changed.items() if name in KEPT})
        body = {**self._write_body(), "updatedOn": self.tell_time()}
        if self.rng.random() < 0.85:  # without `changed`, the body itself says what is new
            body["changed"] = {"updatedOn": self.tell_time(), **changed}
            body["urgency"] = self.rng.choice("123")  # full bodies may show what `changed` does not name
        self.say("Update", body)

    def touch(self) -> None:
        """Send an update whose `changed` is empty: nothing follows, whatever its body shows; that it drifted is told
        once."""
        if self._fields["priority"] != "1" and "drift" not in self.anomalies:
            self.anomalies.append("drift")
        body = {**self._write_body(), "updatedOn": self.tell_time(), "changed": {}, "priority": "1"}
        self.say("Update", body)

    def move(self, status: str) -> None:
        """Change the status by an update; a re-opened ticket's closing words are no longer asserted."""
        self.status = status
        self.known = {name: value for name, value in self.known.items() if name not in self._closing}
        self._closing = {}
        changed = {"updatedOn": self.tell_time(), "status": status, **self._describe_pending()}
        self.say("Update", {**self._write_body(), "changed": changed, "updatedOn": self.tell_time()})
        self.enter(status)

    def note(self) -> None:
        """Comment; the full body may show any status, and a note never moves it (R64)."""
        body = {**self._write_body(), "updatedOn": self.tell_time(), "notes": self.write_note()}
        if self.rng.random() < 0.3:
            body |= {"status": "pending", "description": "only notes may be applied", "priority": "1"}
        self.say("Notes", body)

    def add_file(self) -> None:
        """Publish an attachment."""
        self.attach(self._fields["group"])

    def resolve(self) -> None:
        """Resolve: TransactionType Closure, status resolved (R72)."""
        self._closing = self._pick_closing()
        self._end("resolved", self._closing)

    def close(self) -> None:
        """Close for good, seven days later by itself or by the client (R78, R80)."""
        self._end("closed", {})

    def cancel(self) -> None:
        """Cancel: a status update like any other (R107)."""
        self.move("cancelled")

    def escalate(self) -> None:
        """Send a TransactionType the guide doesn't know: kept, flagged, without effect (R37)."""
        body = {**self._write_body(), "changed": {"status": "pending", "priority": "1"}}
        self.say("Escalated", body)
        self.anomalies.append("unknown_type")

    def work(self, *, steps: int) -> None:
        """Do this many everyday things."""
        doings: tuple[Callable[[], None], ...] = (
            self.update,
            self.update,
            self.note,
            self.note,
            self.add_file,
            self.touch,
        )
        for _ in range(steps):
            self.rng.choice(doings)()

    def _begin(self) -> None:
        self.enter(self.status)
        self.known.update({name: self._fields[name] for name in KEPT})
        self.created += not self.identity()["clientTicketNumber"]

    def _end(self, status: str, closing: dict[str, str]) -> None:
        self.status = status
        changed = {"updatedOn": self.tell_time(), "status": status, **closing}
        body = {**self._write_body(), "changed": changed, "updatedOn": self.tell_time()}
        body.pop("ensonoGroup")
        self.say("Closure", body)
        self.enter(status)
        self.known.update(closing)

    def _pick_closing(self) -> dict[str, str]:
        code = self.rng.choice(("resolved", "unresolved", "resolved*", "unresolved*", "cancelled"))
        return {"closeCode": code, "closeNotes": self.rng.choice(CLOSE_NOTES)}

    def _pick_change(self) -> dict[str, str]:
        short, description = self.rng.choice(TROUBLES)
        return self.rng.choice(
            (
                {"priority": self.rng.choice("1234")},
                {"group": self.rng.choice(GROUPS)[0]},
                {"shortDescription": short},
                {"description": description, "priority": self.rng.choice("1234")},
            )
        )

    def _describe_pending(self) -> dict[str, str]:
        if self.status != "pending":
            return {}
        reasons = ("pending-client", "pending-vendor", "pending-change", "pending-caller")
        return {"statusNextAction": self.rng.choice(reasons), "offHoldDate": self.tell_time(later=86400)}

    def _write_body(self) -> dict[str, object]:
        return {
            **self.identity(),
            "status": self.status,
            **self._fields,
            "openedTime": self._opened,
            **self._describe_pending(),
            **self._closing,
        }


def live_plainly(case: CaseScript) -> None:
    """S1: create, work, resolve, close."""
    case.create()
    case.work(steps=case.rng.randrange(0, 4))
    case.move("workinprogress")
    case.note()
    if case.rng.random() < 0.5:
        case.move("pending")
        case.work(steps=2)
        case.move("workinprogress")
    case.add_file()
    case.resolve()
    if case.rng.random() < 0.7:
        case.close()


def stay_open(case: CaseScript) -> None:
    """Create and work, without an end so far."""
    case.create()
    case.work(steps=case.rng.randrange(1, 6))
    if case.rng.random() < 0.5:
        case.move("pending")


def be_reopened(case: CaseScript) -> None:
    """S2: resolved, rejected, resolved again."""
    case.create()
    case.resolve()
    case.move(case.rng.choice(("open", "workinprogress", "pending")))
    case.note()
    case.resolve()
    case.close()


def be_cancelled(case: CaseScript) -> None:
    """Cancelled while open."""
    case.create()
    case.work(steps=1)
    case.cancel()


def begin_midway(case: CaseScript) -> None:
    """S7: the first message is not a Create."""
    transaction, status = case.rng.choice((("Update", "pending"), ("Notes", "workinprogress"), ("Closure", "resolved")))
    case.adopt(transaction, status)
    case.work(steps=1)
    if status != "resolved":
        case.resolve()


def begin_with_number(case: CaseScript) -> None:
    """The client's own ticket: Ensono has its number from the start."""
    if case.rng.random() < 0.5:
        case.create()
    else:
        case.adopt("Update", "workinprogress")
    case.note()
    case.resolve()


def begin_with_return(case: CaseScript) -> None:
    """S10: the client's POST got no answer, its number comes by the queue."""
    case.return_number()
    case.move("workinprogress")
    case.resolve()


def be_noted_after_close(case: CaseScript) -> None:
    """S6: a comment for a closed ticket is kept and flagged."""
    case.create()
    case.resolve()
    case.close()
    case.note()
    case.anomalies.append("after_final")


def meet_unknown_type(case: CaseScript) -> None:
    """S39: a message of an unknown type in between."""
    case.create()
    case.escalate()
    case.update()
    case.resolve()


STORIES: dict[str, tuple[int, Callable[[CaseScript], None]]] = {
    "case-plain": (14, live_plainly),
    "case-open": (6, stay_open),
    "case-reopened": (4, be_reopened),
    "case-cancelled": (2, be_cancelled),
    "case-midway": (2, begin_midway),
    "case-numbered": (2, begin_with_number),
    "case-returned": (1, begin_with_return),
    "case-late-note": (1, be_noted_after_close),
    "case-unknown-type": (1, meet_unknown_type),
}
"""Every plot with its share of a deck; those with a client number from the start are in NUMBERED."""
NUMBERED = ("case-numbered", "case-returned")
