"""Where the peers are installed and how they are run; `python -m benchmarks.peers.places` installs them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.lab import ROOT, BenchmarkFailed, Call, Lab
from benchmarks.messages import make_message

HOME: Final = Path(os.environ.get("ECPROC_BENCH_PEERS", ROOT / "build" / "peers"))
"""A virtual environment and a node_modules folder of the peers' own: none of them is a dependency of ecproc."""

HERE: Final = Path(__file__).parent
PYTHON: Final = HOME / "venv" / "bin" / "python"
NODE: Final = HOME / "node"
_SECONDS: Final = 900


def install() -> None:
    """Install the pinned peers; node's only where there is npm. Takes minutes: node's sqlite3 may be compiled."""
    HOME.mkdir(parents=True, exist_ok=True)
    _run(sys.executable, "-m", "venv", str(HOME / "venv"))
    _run(str(PYTHON), "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt"))
    npm = shutil.which("npm")
    if npm is not None:
        NODE.mkdir(exist_ok=True)
        shutil.copy(HERE / "package.json", NODE / "package.json")
        # Emmett names a version of its own core that was never published, hence --legacy-peer-deps.
        _run(npm, "install", "--legacy-peer-deps", "--no-audit", "--no-fund", cwd=NODE)
        _run(npm, "rebuild", "sqlite3", cwd=NODE)


def _run(*command: str, cwd: Path = HOME) -> None:
    subprocess.run(command, cwd=cwd, check=True, timeout=_SECONDS)  # noqa: S603 - the package managers


def write_messages(lab: Lab, count: int = 500) -> Path:
    """The messages that peers store, as lines of JSON."""
    path = lab.folder() / "messages.jsonl"
    lines = [json.dumps(make_message(index, tickets=100)) for index in range(count)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def python_peer(mode: str, messages: Path, count: int, address: str = "") -> Call:
    """One measurement by the peers' interpreter."""
    command = (str(PYTHON), str(HERE / "worker.py"), mode, str(messages), "{folder}", str(count), address)
    return Call(mode, command=command, cwd=str(ROOT))


def node_peer(script: str, *arguments: str, attempts: int = 1) -> Call:
    """One measurement by node."""
    return Call(script, command=("node", str(HERE / script), *arguments), cwd=str(NODE), attempts=attempts)


def has_python() -> bool:
    """Whether the Python peers are installed."""
    return PYTHON.exists()


def has_node() -> bool:
    """Whether node's peers are installed."""
    return (NODE / "node_modules").is_dir() and shutil.which("node") is not None


@contextmanager
def nats_server(lab: Lab) -> Iterator[str]:
    """A JetStream server with file storage, on the CPU that measurements leave alone."""
    binary = PYTHON.with_name("nats-server")
    folder = lab.folder()
    port = _free_port()
    config = folder / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\nmax_payload: 8MB\njetstream {{ store_dir: "{folder}", max_file_store: 4GB }}\n',
        encoding="utf-8",
    )
    process = subprocess.Popen(  # noqa: S603 - the server under test
        [str(binary), "-c", str(config)], stderr=subprocess.DEVNULL
    )
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, {sorted(os.sched_getaffinity(0))[-1]})
        _wait_for(port)
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def _wait_for(port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise BenchmarkFailed("nats-server does not listen")


if __name__ == "__main__":
    install()
