"""Secrets that follow their files: what to send now, and what to send when that is refused."""

import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from msgspec import Struct

from ecproc.config.catalogue import SOURCES, find_section
from ecproc.config.checks import (
    FORM_SECRETS,
    HEADER_SECRETS,
    TOKEN_LENGTH,
    WEBHOOK_SECRETS,
    fits_header,
    is_webhook_secret,
)
from ecproc.config.options import Config, SecretFile
from ecproc.config.proxy import BadProxy, list_proxy_secrets, parse_proxy
from ecproc.config.secret import Secret
from ecproc.descriptors import is_out_of_files
from ecproc.webhooks import KEY_FORM

API_KEY: Final = "bridge.api_key"
PROXY: Final = "bridge.proxy"
PROXIES: Final = (PROXY, "desk.servicenow.proxy")
"""What only a restart can change, wherever it is given."""

_SOURCE_LINES: Final = {"secrets": 8, "password": 2, "token": 2}
"""Values that the file of a source's secret may hold, one on a line."""
_MOST_BYTES: Final = 64 * 1024

_Stamp: TypeAlias = tuple[int, ...]


class SecretChange(Struct, frozen=True):
    """What a look at a secret's file brought: new values, or the `reason` why the ones from before are kept."""

    option: str
    path: Path
    values: tuple[Secret, ...] = ()
    reason: str = ""


class LiveSecret:
    """One secret as it is now. With a `path` it follows that file, which is looked at when asked to, never by itself.

    `hear` is told of new values before anyone can get them, and of every new state of the file that cannot be used: one
    whose values have less than `least` characters is such a one.
    """

    def __init__(
        self,
        option: str,
        values: Sequence[Secret],
        *,
        path: Path | None = None,
        least: int = 0,
        hear: Callable[[SecretChange], None] = lambda change: None,
    ) -> None:
        self.option = option
        self._least = least
        self._values = tuple(values)
        self._path = path
        self._hear = hear
        self._used = 0
        self._seen: _Stamp | None = None  # so that the first look reads: the file may have changed since the start

    @property
    def value(self) -> Secret:
        """What to send: the first line, or the one that was taken when the first was refused."""
        return self._values[self._used] if self._values else Secret()

    @property
    def values(self) -> Sequence[Secret]:
        """All that there are, the first one first."""
        return self._values

    @property
    def follows(self) -> bool:
        """Whether there is a file to follow."""
        return self._path is not None

    def instead_of(self, refused: Secret) -> Secret | None:
        """What to send after a value was refused, None if there is nothing else; looks at the file first."""
        self.look()
        return next((value for value in (self.value, *self._values) if value != refused), None)

    def settle(self, worked: Secret) -> None:
        """Send this value from now on, until the file changes."""
        if worked in self._values:
            self._used = self._values.index(worked)

    def look(self, *, force: bool = False) -> bool:
        """Take up the file's content if the file changed, or with `force` anyway; whether the values are others now."""
        if self._path is None:
            return False
        stamp = _stamp(self._path)
        if stamp == self._seen and not force:
            return False
        try:
            found = read_secret(self.option, self._path)
        except OSError as error:
            if is_out_of_files(error):
                return False  # it says nothing about the file, and the next look tries again
            found = error.strerror or type(error).__name__
        self._seen = stamp
        if not isinstance(found, str) and any(len(value.reveal()) < self._least for value in found):
            found = f"it is shorter than {self._least} characters"
        if isinstance(found, str):
            self._hear(SecretChange(self.option, self._path, reason=found))
            return False
        return self._replace(found)

    def _replace(self, values: tuple[Secret, ...]) -> bool:
        if self._path is None or values == self._values:
            return False
        self._hear(SecretChange(self.option, self._path, values))
        self._values, self._used = values, 0
        return True


class Secrets:
    """All secrets of a configuration as they are now; `hear` as for `LiveSecret`."""

    def __init__(self, config: Config, hear: Callable[[SecretChange], None]) -> None:
        self._live = {option: _follow(config, option, hear) for option in list_secrets(config)}

    def __getitem__(self, option: str) -> LiveSecret:
        return self._live[option]

    def look(self, *, force: bool = False) -> Sequence[str]:
        """Look at every file that changed, or with `force` at all; the options that have other values now."""
        return [option for option, secret in self._live.items() if secret.look(force=force)]

    @property
    def fixed(self) -> Sequence[str]:
        """The options that are set and only a restart can change."""
        return [name for name, one in self._live.items() if one.value and (name in PROXIES or not one.follows)]


def read_secret(option: str, path: Path) -> tuple[Secret, ...] | str:
    """What may be sent of a secret's file, line by line where it may have two; else why nothing can be. Raises OSError
    where it cannot be read."""
    try:
        if path.exists() and not path.is_file():
            return "it is no regular file"
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        return "it is not UTF-8"
    values = split_secret(option, text)
    return values if isinstance(values, str) else _check(option, values) or values


def split_secret(option: str, text: str) -> tuple[Secret, ...] | str:
    """The values in a secret file's text; else why it holds none."""
    text = text.rstrip("\r\n")
    most = _count_lines(option)
    lines = text.replace("\r\n", "\n").split("\n") if most > 1 else [text]
    values = tuple(dict.fromkeys(Secret(line) for line in lines if line))
    if not values:
        return "it is empty"
    return values if len(values) <= most else f"it has more than {'two' if most == 2 else most} lines"


def list_secret_texts(config: Config) -> Iterator[str]:
    """Every text that must not be printed because of this configuration."""
    for option in list_secrets(config):
        yield from secret_texts(option, _values_of(config, option))


def secret_texts(option: str, values: Sequence[Secret]) -> Iterator[str]:
    """Every form in which the values of a secret could be printed."""
    for value in values:
        yield from list_proxy_secrets(value.reveal()) if option in PROXIES else (value.reveal(),)


def list_secrets(config: Config) -> Sequence[str]:
    """The options of this configuration that hold secrets."""
    sources = [f"{SOURCES}.{name}.{key}" for name in config.hooks_sources for key in _SOURCE_LINES]
    return (*HEADER_SECRETS, *FORM_SECRETS, *PROXIES, *WEBHOOK_SECRETS, *sources)


def _count_lines(option: str) -> int:
    """Values that a secret's file may hold, one on a line."""
    if option in WEBHOOK_SECRETS or option.startswith(f"{SOURCES}."):
        return _SOURCE_LINES[option.rpartition(".")[2]]
    return 2 if option == API_KEY else 1


def _follow(config: Config, option: str, hear: Callable[[SecretChange], None]) -> LiveSecret:
    file = config.secret_files.get(option)
    # What is no regular file (a pipe of the shell's) gives its content once.
    path = file.path if file is not None and file.path.is_file() else None
    exposed = option.startswith("web.") and config.web.is_exposed
    least = TOKEN_LENGTH if exposed or option.startswith(f"{SOURCES}.") else 0
    return LiveSecret(option, _values_of(config, option), path=path, least=least, hear=hear)


def _values_of(config: Config, option: str) -> tuple[Secret, ...]:
    file: SecretFile | None = config.secret_files.get(option)
    if file is not None:
        return file.values
    section, _, key = option.rpartition(".")
    value: Secret | tuple[Secret, ...] = getattr(find_section(config, section), key)
    if isinstance(value, tuple):
        return tuple(one for one in value if one)
    return (value,) if value else ()


def _check(option: str, values: Sequence[Secret]) -> str:
    """Why values of the right number cannot be used, empty if they can."""
    if option in HEADER_SECRETS or option.endswith(".token"):
        fits = all(fits_header(value.reveal()) for value in values)
        return "" if fits else "it has characters that no HTTP header can carry"
    if option.endswith(".secrets"):
        return "" if all(map(is_webhook_secret, values)) else f"a line of it is not {KEY_FORM}"
    if option not in PROXIES:
        return ""
    proxy = parse_proxy(values[0].reveal())
    return f"it {proxy.reason}" if isinstance(proxy, BadProxy) else ""


def _stamp(path: Path) -> _Stamp:
    """What changes when a file does, also one that a link leads to; empty when it cannot be looked at."""
    try:
        status = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    if not stat.S_ISREG(status.st_mode):
        return (0, status.st_mode)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
