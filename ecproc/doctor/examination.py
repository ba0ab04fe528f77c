"""The checks in their order, each within its time: one that fails or takes too long is a finding, the rest go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from sqlite3 import sqlite_version_info
from traceback import extract_tb
from typing import Final, NamedTuple

import anyio
import msgspec

from ecproc.clock import Clock
from ecproc.config import Config, Secret
from ecproc.desk.health import DeskHealth, look_at_desk
from ecproc.desk.numbers import DeskStand
from ecproc.doctor import bridging, data, machine
from ecproc.doctor.aside import call_aside
from ecproc.doctor.bridging import Probed
from ecproc.doctor.calls import probe_bridge
from ecproc.doctor.desk import check_servicenow, judge_check
from ecproc.doctor.echo import ECHO_SECONDS, prove_echo
from ecproc.doctor.readings import find_obstacle, find_place, read_directory, read_file_limits, time_syncs
from ecproc.doctor.report import CheckName, DoctorReport, Opinion, Trouble, skip, write_report
from ecproc.errors import ConfigError, ConfigProblem, EcprocError
from ecproc.reading.attention import list_lost_approvers, list_senders, read_attention
from ecproc.reading.mismatches import list_consumers
from ecproc.reading.opening import open_reading
from ecproc.restoring import compare_stand
from ecproc.room import Room
from ecproc.store.base import LogHealth, Reader
from ecproc.store.checks import read_checks
from ecproc.store.identity import compare_identity
from ecproc.store.opening import find_holder, holds_log, look_at_log, verify_log
from ecproc.store.receipts import read_receipts

TOTAL_SECONDS: Final = 28.0
"""What all checks but the echo may take together: the command ends within thirty seconds."""
DESK_FILE: Final = "desk.db"
_USUAL_SECONDS: Final = 4.0
_BRIDGE_SECONDS: Final = 12.0
VERIFY_SECONDS: Final = 9.0
"""How long the log may be read to see whether all of it holds."""
_OUTSIDE: Final = frozenset({CheckName.DATA_DIR, CheckName.DISK, CheckName.WEB})
"""What of the data directory's checks needs no look into it."""
_NO_BRIDGE: Final = "the configuration does not say which environment this is"


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What an examination is given: the configuration as far as it could be read (`config` is None where none could be,
    `complete` says that it has all that `run` needs), what is wrong with it, and how the running processor is asked
    whether it is ready."""

    config: Config | None
    complete: bool
    problems: Sequence[ConfigProblem]
    clock: Clock
    ask_ready: Callable[[Config], Awaitable[str]]


class _Step(NamedTuple):
    """One check: its name, the seconds that it may take, and what makes it."""

    name: CheckName
    seconds: float
    look: Callable[[], Awaitable[Opinion]]


async def examine(
    around: Surroundings, *, echo: bool, redact: Callable[[str], str], seconds: float = TOTAL_SECONDS
) -> DoctorReport:
    """Make every check, within so many seconds in all, and with `echo` the round trip after them, which has a time of
    its own. Nothing that a check raises gets out; `redact` takes secrets out of what was not expected."""
    clock = around.clock
    until = clock.monotonic() + seconds
    opinions: list[tuple[CheckName, Opinion]] = []
    for step in _list_steps(around, echo=echo):
        left = step.seconds if step.name is CheckName.ECHO else min(step.seconds, until - clock.monotonic())
        opinions.append((step.name, await make_check(step.name, step.look, seconds=left, redact=redact)))
    return write_report(opinions)


async def make_check(
    name: CheckName, look: Callable[[], Awaitable[Opinion]], *, seconds: float, redact: Callable[[str], str]
) -> Opinion:
    """What that check says within so many seconds; whatever else comes of it is a finding."""
    try:
        with anyio.move_on_after(max(seconds, 0)):
            return await look()
    except ConfigError as error:
        return Opinion("failed", tuple(Trouble(each.message, each.help or each.location) for each in error.problems))
    except EcprocError as error:
        fix = error.hint or "see what the text names, and ask again"
        return Opinion("failed", (Trouble(str(error), fix),))
    except OSError as error:
        return Opinion("failed", (Trouble(redact(str(error)), "mend what the system names, and ask again"),))
    except Exception as error:
        frame = extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        text = redact(f"a defect of ecproc: {type(error).__name__}: {error} ({place})")
        return Opinion("failed", (Trouble(text, "report it with this text; the other checks are not touched"),))
    fix = "see whether the disk, the bridge or the machine stands still, and ask again"
    return Opinion("no result", (Trouble(f"the check {name} came to no result in its time", fix),))


def _list_steps(around: Surroundings, *, echo: bool) -> list[_Step]:
    config, sooner = around.config, _USUAL_SECONDS
    warnings = config.warnings if config is not None else ()
    asked = [
        _Step(CheckName.CONFIG, sooner, partial(_say, machine.judge_config, around.problems, warnings)),
        *_list_bridge_steps(around),
        _Step(CheckName.SQLITE, sooner, partial(_say, machine.judge_sqlite, sqlite_version_info)),
        _Step(CheckName.FILES, sooner, _check_files),
    ]
    if config is None:
        missing = (name for name in list(CheckName)[list(CheckName).index(CheckName.DATA_DIR) :] if name != "echo")
        return [*asked, *(_Step(name, sooner, _no_config) for name in missing)]
    asked += _list_data_steps(config, around)
    if echo:
        look = partial(prove_echo, config, clock=around.clock) if around.complete else _no_config
        asked.append(_Step(CheckName.ECHO, ECHO_SECONDS + config.bridge.poll_interval + 5, look))
    return asked


async def _say(judge: Callable[..., Opinion], *readings: object) -> Opinion:
    return judge(*readings)


async def _no_config() -> Opinion:
    return skip("the configuration has errors")


# --- the bridge -------------------------------------------------------------------------------------------------------


def _list_bridge_steps(around: Surroundings) -> list[_Step]:
    names = (CheckName.URL, CheckName.BRIDGE, CheckName.TLS, CheckName.KEY, CheckName.CLOCK)
    if around.config is None or not around.complete:
        return [_Step(name, _USUAL_SECONDS, _no_config) for name in names]
    looks = _BridgeLooks(around.config, around.clock)
    made = (looks.url, looks.reach, looks.certificate, looks.key, looks.skew)
    seconds = {CheckName.BRIDGE: _BRIDGE_SECONDS}
    return [_Step(name, seconds.get(name, _USUAL_SECONDS), look) for name, look in zip(names, made, strict=True)]


class _BridgeLooks:
    """The checks that are made of the same few calls."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._probed: list[Probed] = []

    async def url(self) -> Opinion:
        return bridging.judge_url(self._config.bridge)

    async def reach(self) -> Opinion:
        self._probed = await probe_bridge(self._config.bridge, list_keys(self._config), now=self._clock.now)
        return bridging.judge_reach(self._probed)

    async def certificate(self) -> Opinion:
        return self._judge(partial(bridging.judge_certificate, now=self._clock.now()))

    async def key(self) -> Opinion:
        return self._judge(bridging.judge_key)

    async def skew(self) -> Opinion:
        return self._judge(bridging.judge_clock)

    def _judge(self, judge: Callable[[Sequence[Probed]], Opinion]) -> Opinion:
        return judge(self._probed) if self._probed else skip("the bridge was not asked")


def list_keys(config: Config) -> Sequence[Secret]:
    """The API keys that may be sent, the first one first."""
    file = config.secret_files.get("bridge.api_key")
    return file.values if file is not None else (config.bridge.api_key,)


# --- the data directory -----------------------------------------------------------------------------------------------


def _list_data_steps(config: Config, around: Surroundings) -> list[_Step]:
    looks = _DataLooks(config, around)
    own = {CheckName.LOG: VERIFY_SECONDS + 1, CheckName.PROCESSOR: _USUAL_SECONDS * 2}
    if config.desk.kind == "servicenow":
        own[CheckName.DESK] = _BRIDGE_SECONDS
    made = {
        CheckName.DATA_DIR: looks.directory,
        CheckName.DISK: looks.disk,
        CheckName.FSYNC: looks.syncs,
        CheckName.PROCESSOR: looks.processor,
        CheckName.WEB: looks.web,
        CheckName.LOG: looks.log,
        CheckName.IDENTITY: looks.identity,
        CheckName.ANCHOR: looks.anchor,
        CheckName.DATABASE: looks.database,
        CheckName.REPLAY: looks.replay,
        CheckName.DESK: looks.desk,
        CheckName.SENDERS: looks.senders,
        CheckName.CONSUMERS: looks.consumers,
        CheckName.APPROVERS: looks.approvers,
        CheckName.WAITING: looks.waiting,
    }
    return [_Step(name, own.get(name, _USUAL_SECONDS), partial(looks.look, name, look)) for name, look in made.items()]


async def _check_files() -> Opinion:
    return machine.judge_files(*read_file_limits())


class _DataLooks:
    """The checks of one data directory."""

    def __init__(self, config: Config, around: Surroundings) -> None:
        self._config = config
        self._around = around
        self._is_unusable = False

    async def look(self, name: CheckName, make: Callable[[], Awaitable[Opinion]]) -> Opinion:
        """What that check says, unless it would only say again that the directory cannot be used."""
        if self._is_unusable and name not in _OUTSIDE:
            return skip(f"it fails as the check {CheckName.DATA_DIR} does")
        return await make()

    async def directory(self) -> Opinion:
        found = await call_aside(lambda: read_directory(self._config.data.directory))
        self._is_unusable = bool(found.unusable)
        return machine.judge_directory(found)

    async def disk(self) -> Opinion:
        place = await call_aside(lambda: find_place(self._config.data.directory))
        room = Room(place, reserve_bytes=self._config.data.reserve_bytes)
        return machine.judge_disk(await call_aside(lambda: room.free), room.reserve, place)

    async def syncs(self) -> Opinion:
        return machine.judge_sync(await call_aside(lambda: time_syncs(self._config.data)))

    async def processor(self) -> Opinion:
        holder = await call_aside(lambda: find_holder(self._config.data))
        if holder is None:
            return data.judge_processor("", "")
        return data.judge_processor(str(holder), await self._around.ask_ready(self._config))

    async def web(self) -> Opinion:
        web = self._config.web
        if not self._is_unusable and await call_aside(lambda: find_holder(self._config.data)) is not None:
            return skip("the running processor listens there")
        return data.judge_web(web.listen, await call_aside(lambda: find_obstacle(web.host, web.port)))

    async def replay(self) -> Opinion:
        if not await self._has_log():
            return Opinion(data.NO_LOG)
        checks = await call_aside(lambda: read_checks(self._config.data.directory))
        return data.judge_replay(checks.replay_equal)

    async def database(self) -> Opinion:
        return data.judge_database(await self._look_at_log())

    async def log(self) -> Opinion:
        if not await self._has_log():
            return data.judge_log(None)
        with anyio.move_on_after(VERIFY_SECONDS):
            return data.judge_log(await call_aside(lambda: verify_log(self._config.data)))
        return Opinion(f"it is too long to be read in {VERIFY_SECONDS:g} s: ecproc log verify does it", made=False)

    async def identity(self) -> Opinion:
        async with self._reading() as reader:
            first = None if reader is None else await reader.read_event(1)
        if first is None:
            return Opinion(data.NO_LOG)
        if not self._around.complete:
            return skip(_NO_BRIDGE)
        return data.judge_identity(compare_identity(first, msgspec.structs.asdict(self._config.bridge.identity)))

    async def anchor(self) -> Opinion:
        running = await call_aside(lambda: find_holder(self._config.data)) is not None
        found = await self._look_at_log()
        return data.judge_anchor(found, running=running, now=self._around.clock.now())

    async def desk(self) -> Opinion:
        if self._config.desk.kind == "servicenow":
            seen = await check_servicenow(self._config, nonce="", write=False, clock=self._around.clock)
            return judge_check(seen, self._config.desk_servicenow.base_url)
        if not await self._has_log():
            return data.judge_desk(await self._look_at_desk(), "")
        async with open_reading(self._config) as reader:
            found, mismatch = await self._compare_desk(reader)
        return data.judge_desk(found, mismatch)

    async def senders(self) -> Opinion:
        async with self._reading() as reader:
            if reader is None:
                return Opinion(data.NO_LOG)
            if not self._around.complete:
                return skip(_NO_BRIDGE)
            senders = await list_senders(reader, newest=data.SENDERS_READ)
        return data.judge_senders(senders, self._config.bridge.environment)

    async def consumers(self) -> Opinion:
        async with self._reading() as reader:
            if reader is None:
                return Opinion(data.NO_LOG)
            windows = await call_aside(lambda: read_receipts(self._config.data.directory))
            found = list_consumers(reader, now=self._around.clock.now(), windows=windows)
            return data.judge_consumers([each async for each in found])

    async def approvers(self) -> Opinion:
        async with self._reading() as reader:
            return Opinion(data.NO_LOG) if reader is None else data.judge_approvers(await list_lost_approvers(reader))

    async def waiting(self) -> Opinion:
        async with self._reading() as reader:
            return Opinion(data.NO_LOG) if reader is None else data.judge_waiting(await read_attention(reader))

    async def _has_log(self) -> bool:
        return await call_aside(lambda: holds_log(self._config.data))

    async def _look_at_log(self) -> LogHealth | None:
        return await call_aside(lambda: look_at_log(self._config.data)) if await self._has_log() else None

    async def _look_at_desk(self) -> DeskHealth | None:
        return await call_aside(lambda: look_at_desk(self._config.data.directory / DESK_FILE))

    async def _compare_desk(self, reader: Reader) -> tuple[DeskHealth | None, str]:
        """The desk, and why it and the log are not of one moment, also where a processor goes on with both."""
        found = await self._look_at_desk()
        return found, await compare_stand(_stand_of(found), reader, look_again=self._read_stand)

    async def _read_stand(self) -> DeskStand:
        return _stand_of(await self._look_at_desk())

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Reader | None]:
        if not await self._has_log():
            yield None
            return
        async with open_reading(self._config) as reader:
            yield reader


def _stand_of(found: DeskHealth | None) -> DeskStand:
    return found.stand if found is not None else DeskStand(0)
