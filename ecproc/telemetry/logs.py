"""Log lines: one JSON object each, or readable text for a terminal; both redacted, neither shows local variables."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, TextIO, TypeAlias

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ecproc.telemetry.outlet import Outlet
from ecproc.telemetry.redaction import MASK, Redactor, is_secret_name, mask_url_queries

__all__ = ["Redactor", "configure_logging", "mask_url_queries"]

# These log whole URLs, or each request, at INFO.
_QUIET: Final = ("httpx", "httpcore", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "aiosqlite")
_MAX_DEPTH: Final = 4
_MAX_ITEMS: Final = 50
_MAX_FRAMES: Final = 20
_Render: TypeAlias = Callable[[WrappedLogger, str, EventDict], str]

_SMALLEST_INT, _LARGEST_INT = -(2**63), 2**63 - 1


def configure_logging(
    stream: TextIO, *, json: bool, redactor: Redactor | None = None, level: int | str = logging.INFO
) -> None:
    """Send what structlog and the standard library log to `stream`, one line each.

    Fields are `ts` (RFC 3339 UTC), `level`, `event` and what was bound; URL queries, API keys, receipt handles and what
    `redactor` knows by the time of a line are masked, control characters escaped. May be called again: the last call
    counts.
    """
    stamp: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    render = _render_json if json else _render_text
    handler = _Handler(stream, render)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[_Clean(redactor or Redactor()), render],
            foreign_pre_chain=[*stamp, structlog.stdlib.add_logger_name],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *stamp,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class _Handler(logging.Handler):
    """A handler that never shows a record it could not format: the default one would print it unredacted."""

    def __init__(self, stream: TextIO, render: _Render) -> None:
        super().__init__()
        self._render = render
        self._outlet = Outlet(stream, lambda count: self._describe_loss(lines=count))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n"
        except Exception as error:
            line = self._describe_loss(error=type(error).__name__)
        # A line that cannot be written is no reason to stop.
        with suppress(Exception):
            self._outlet.write(line)

    def close(self) -> None:
        self._outlet.close()
        super().close()

    def _describe_loss(self, **why: object) -> str:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        lost: EventDict = {"ts": now, "level": "error", "event": "a log line was lost", **why}
        return f"{self._render(None, '', lost)}\n"


class _Clean:
    """The step that turns whatever was logged into plain, bounded, redacted values in a fixed order."""

    def __init__(self, redactor: Redactor) -> None:
        self._redact = redactor.redact

    def __call__(self, logger: WrappedLogger, method: str, fields: EventDict) -> EventDict:
        error = _exception_of(fields.pop("exc_info", None))
        own = {name: fields.pop(name, "") for name in ("ts", "level", "event")}
        bound = {name: value for name, value in fields.items() if not name.startswith("_")}
        if error is not None:
            bound |= dict(_describe_exception(error))
        return {name: self._value(name, value, _MAX_DEPTH) for name, value in (own | bound).items()}

    def _value(self, name: str, value: object, depth: int) -> object:
        if is_secret_name(name):
            return MASK
        match value:
            case None | bool() | float():
                return value
            case int():
                return value if _SMALLEST_INT <= value <= _LARGEST_INT else str(value)
            case bytes() | bytearray() | memoryview():
                return f"<{len(value)} bytes>"
            case Mapping() if depth:
                items = islice(value.items(), _MAX_ITEMS)
                return {self._redact(str(key)): self._value(str(key), item, depth - 1) for key, item in items}
            case list() | tuple() | set() | frozenset() if depth:
                return [self._value("", item, depth - 1) for item in islice(value, _MAX_ITEMS)]
            case BaseException():
                return self._redact(_name_exception(value))
            case _:
                return self._redact(_to_text(value))


def _exception_of(info: Any) -> BaseException | None:
    if info is True:
        return sys.exc_info()[1]
    candidate = info[1] if isinstance(info, tuple) else info
    return candidate if isinstance(candidate, BaseException) else None


def _describe_exception(error: BaseException) -> Iterator[tuple[str, object]]:
    yield "error", _name_exception(error)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield "cause", _name_exception(cause)
    if isinstance(error, BaseExceptionGroup):
        yield "errors", [_name_exception(item) for item in error.exceptions]
    frames = list(traceback.walk_tb(error.__traceback__))[-_MAX_FRAMES:]
    yield "trace", [f"{f.f_code.co_filename}:{line} {f.f_code.co_name}" for f, line in frames]


def _name_exception(error: BaseException) -> str:
    return f"{type(error).__name__}: {_to_text(error)}"


def _to_text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__} without text: {type(error).__name__}>"


def _render_json(logger: WrappedLogger, method: str, fields: EventDict) -> str:
    return orjson.dumps(fields).decode()


def _render_text(logger: WrappedLogger, method: str, fields: EventDict) -> str:
    bound = [f"{name}={_show(value)}" for name, value in fields.items() if name not in ("ts", "level", "event")]
    time = str(fields["ts"])[11:19]
    return "  ".join([f"{time} {fields['level']:<8} {fields['event']}", *bound])


def _show(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
