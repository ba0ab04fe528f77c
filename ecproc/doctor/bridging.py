"""What is to be said of the way to the bridge, by its answers to calls that do nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

from ecproc.config import BridgeConfig, is_loopback
from ecproc.config.checks import ENVIRONMENTS
from ecproc.doctor.report import Opinion, Trouble, skip, warn
from ecproc.domain.times import format_time
from ecproc.errors import BridgeUnavailable
from ecproc.http import ConnectionEnds
from ecproc.wire.responses import Judgement, Verdict

NAME_FORMS: Final = ("body", "query", "header")
"""The values of `bridge.client_name_in` (C28)."""
CLOCK_OFF: Final = 5 * 60.0
"""Seconds from which a clock is wrong: what a call means may depend on when it was made, and addresses expire."""
CLOCK_DRIFTS: Final = 60.0
CERTIFICATE_DAYS: Final = 14
"""From when on it is said that the bridge's certificate ends."""

_DAY: Final = 24 * 3600
_RIGHT: Final = frozenset({Verdict.INVALID, Verdict.EXPIRED, Verdict.ACCEPTED})
"""What only a call with the right key on the right path is answered."""
_UNREACHED: Final = "the bridge was not reached"


class ProbeForm(msgspec.Struct, frozen=True):
    """One way to make the call: with that configuration, and with that line of the key's file."""

    bridge: BridgeConfig
    key: int = 0


class ProbeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of any status: what it means, by which connection it came, the time that it names and ours in the
    middle of the call (microseconds UTC), and the seconds until it began."""

    judgement: Judgement
    ends: ConnectionEnds
    date: int | None
    at: int
    took: float


class ProbeFailure(msgspec.Struct, frozen=True):
    """Why there is no answer, in the words of `HttpFault`."""

    kind: str
    detail: str


ProbeOutcome: TypeAlias = ProbeAnswer | ProbeFailure


class Probed(msgspec.Struct, frozen=True):
    """One call and what became of it."""

    form: ProbeForm
    outcome: ProbeOutcome


def is_right(outcome: ProbeOutcome) -> bool:
    """Whether the call was refused for nothing but its handle: key and path are right then."""
    return isinstance(outcome, ProbeAnswer) and outcome.judgement.verdict in _RIGHT


def list_other_forms(first: Probed, *, keys: int) -> Iterator[ProbeForm]:
    """What else may work where the configured form is refused: how the client is named if that is what it is refused
    for (C28), else the second key (R5), and the path in lower case (R7)."""
    bridge, outcome = first.form.bridge, first.outcome
    if not isinstance(outcome, ProbeAnswer) or outcome.judgement.verdict is not Verdict.MISCONFIGURED:
        return
    if "clientname" in outcome.judgement.text.lower():
        for name in NAME_FORMS:
            if name != bridge.client_name_in:
                yield ProbeForm(msgspec.structs.replace(bridge, client_name_in=name))
        return
    if keys > 1:
        yield ProbeForm(bridge, key=1)
    if (lower := lower_path(bridge.base_url)) != bridge.base_url:
        yield ProbeForm(msgspec.structs.replace(bridge, url=lower))


def lower_path(url: str) -> str:
    """The address with its path in lower case, which is how Ensono writes them."""
    return urlsplit(url)._replace(path=urlsplit(url).path.lower()).geturl()


def judge_url(bridge: BridgeConfig) -> Opinion:
    """Whether the address looks as Ensono's do; the configuration's own checks let a loopback address be anything, and
    warn of upper case in any other."""
    parts = urlsplit(bridge.base_url)
    environment, lower = bridge.environment, lower_path(bridge.base_url)
    troubles: list[Trouble] = []
    if not is_loopback(parts.hostname or "") and parts.scheme != "https":
        troubles.append(Trouble("bridge.url begins with http://, which shows the key to others", "write https://"))
    if environment not in ENVIRONMENTS and environment.lower() in ENVIRONMENTS:
        fix = f"paths are case sensitive: set bridge.url to {lower}"
        troubles.append(Trouble(f"the environment is {environment}, not {environment.lower()}", fix))
    elif environment not in ENVIRONMENTS:
        known = ", ".join(ENVIRONMENTS)
        fix = f"end bridge.url in one of {known}"
        troubles.append(Trouble(f"there is no environment {environment or '(none)'}", fix))
    elif is_loopback(parts.hostname or "") and bridge.base_url != lower:
        fix = f"usually it is {lower}; ask Ensono if you are not sure"
        troubles.append(warn("bridge.url has upper case in its path, which is case sensitive", fix))
    return Opinion(f"{bridge.base_url}, client {bridge.client_name}, environment {environment}", tuple(troubles))


def judge_reach(probed: Sequence[Probed]) -> Opinion:
    """Whether there is an answer, and from which address calls go out: Ensono may allow only some (R4)."""
    first = probed[0]
    if isinstance(first.outcome, ProbeFailure):
        if first.outcome.kind == "tls":
            return skip("TLS fails, see there")
        failed = BridgeUnavailable(first.outcome.kind, first.outcome.detail, sent=False)
        fix = failed.hint or "see bridge.url and bridge.proxy, and what answers there"
        return Opinion("no answer", (Trouble(str(failed), fix),))
    ends, bridge = first.outcome.ends, first.form.bridge
    way = f"calls leave from {ends.local or 'an unknown address'} and go to {ends.remote or 'another one'}"
    proxy = bridge.proxy_address
    if proxy is not None:
        way += f", the proxy {proxy.place}, whose address Ensono sees"
    return Opinion(f"it answers in {first.outcome.took:.2f} s; {way}")


def judge_certificate(probed: Sequence[Probed], *, now: int) -> Opinion:
    """Whether TLS holds, and for how long yet; `now` is microseconds UTC."""
    outcome = probed[0].outcome
    if isinstance(outcome, ProbeFailure):
        if outcome.kind != "tls":
            return skip(_UNREACHED)
        failed = BridgeUnavailable("tls", outcome.detail, sent=False)
        return Opinion("it fails", (Trouble(str(failed), failed.hint),))
    ends = outcome.ends.certificate_ends
    if ends is None:
        return Opinion("none: the address is this machine's own")
    left = int((ends - now / 1_000_000) // _DAY)
    text = f"the bridge's certificate is trusted, and ends in {left} days"
    if left >= CERTIFICATE_DAYS:
        return Opinion(text)
    fix = "ask Ensono whether it will be renewed; calls fail from then on"
    return Opinion(text, (warn(f"the bridge's certificate ends on {format_time(int(ends * 1_000_000))[:10]}", fix),))


def judge_key(probed: Sequence[Probed]) -> Opinion:
    """Whether key, path and client's name are taken, and where not, which other form is."""
    first, last = probed[0], probed[-1]
    if isinstance(first.outcome, ProbeFailure):
        return skip(_UNREACHED)
    words = first.outcome.judgement.text
    if is_right(first.outcome):
        return Opinion("key and path are right: a handle that does not exist was refused for that alone")
    if not is_right(last.outcome):
        return Opinion("refused", (_describe_refusal(first.outcome, others=len(probed) - 1),))
    form, bridge = last.form, first.form.bridge
    if form.key != first.form.key:
        text = f"the first key in its file is refused ({words}), the second one is taken"
        return Opinion("the second key is right", (warn(text, "take the first line out of the key's file"),))
    if form.bridge.client_name_in != bridge.client_name_in:
        works = form.bridge.client_name_in
        text = f'the client\'s name is not found where bridge.client_name_in is "{bridge.client_name_in}" ({words})'
        return Opinion("refused", (Trouble(text, f'set bridge.client_name_in = "{works}", which works'),))
    fix = f"set bridge.url to {form.bridge.base_url}, which works"
    return Opinion("refused", (Trouble(f"paths are case sensitive: {bridge.base_url} is refused ({words})", fix),))


def judge_clock(probed: Sequence[Probed]) -> Opinion:
    """Whether this machine's clock and the bridge's agree, by the Date header, which names a second."""
    outcome = probed[0].outcome
    if isinstance(outcome, ProbeFailure):
        return skip(_UNREACHED)
    if outcome.date is None:
        return skip("the answer names no time")
    off = (outcome.at - outcome.date) / 1_000_000
    if abs(off) <= CLOCK_DRIFTS:
        return Opinion(f"{max(abs(off) - 1, 0):.0f} s off, as far as a Date header tells")
    text = f"this machine's clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the bridge's"
    fix = "let a time service (chrony, systemd-timesyncd) set it"
    trouble = Trouble(text, fix) if abs(off) > CLOCK_OFF else warn(text, fix)
    return Opinion(f"{abs(off):.0f} s off", (trouble,))


def _describe_refusal(answer: ProbeAnswer, *, others: int) -> Trouble:
    judgement = answer.judgement
    tried = f"; neither of {others} other forms works" if others > 1 else "; another form does not work either" * others
    text = f"the bridge says: {judgement.text}{tried}"
    match judgement.verdict:
        case Verdict.MISCONFIGURED:
            hint = judgement.hint or "check bridge.url and bridge.api_key"
            return Trouble(text, f"{hint} (calls leave from {answer.ends.local or 'an unknown address'})")
        case Verdict.TROUBLE | Verdict.TIMED_OUT:
            return Trouble(text, "try again; if it stays so, the bridge is down: call Ensono's help desk")
        case _:
            return Trouble(text, "see whether bridge.url leads to Envision Connect, and ask Ensono")
