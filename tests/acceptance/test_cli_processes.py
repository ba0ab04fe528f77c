"""The command as a process: signals, pipes, a running processor beside it, and the demo as a whole."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ecproc.errors import ExitCode

COMMAND = (sys.executable, "-m", "ecproc")
ROOT = Path(__file__).parents[2]
PROOF = re.compile(
    r"received (\d+) · appended \1 · deleted \1 · redelivered \d+ \((\d+\.\d) %\) · lost 0 · tickets \d+ · "
    r"effects \d+ doubled 0 · replay equal\n"
)

DESK_PROOF = re.compile(
    r"received (\d+) · appended \1 · deleted \1 · redelivered \d+ \(\d+\.\d %\) · lost 0 · tickets \d+ · effects \d+ · "
    r"created [1-9]\d* · updated [1-9]\d* · commented [1-9]\d* · attached [1-9]\d* · doubled 0 · echoed 0 · "
    r"replay equal\n"
)

Environment = Mapping[str, str]


def configure(**variables: str) -> Environment:
    """Our environment with these variables and no configuration of the machine's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ECPROC_")}
    path = os.pathsep.join(filter(None, [str(ROOT), own.get("PYTHONPATH")]))
    return own | {"ECPROC_CONFIG": os.devnull, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"} | variables


@contextmanager
def started(*arguments: str, environment: Environment) -> Iterator[subprocess.Popen[str]]:
    """A running command; killed if it still runs at the end."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def run(*arguments: str, environment: Environment) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def read_lines(process: subprocess.Popen[str], number: int) -> Sequence[str]:
    """The next lines it prints."""
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(number)]


def test_events_follow_the_log_of_a_running_processor(tmp_path: Path) -> None:
    data = configure(ECPROC_DATA__DIR=str(tmp_path / "data"))
    with (
        started("events", "--follow", environment=data) as follower,
        started("simulate", "bridge", "--port", "0", "--scenario", "tickets=3", environment=data) as simulator,
    ):
        access = json.loads(read_lines(simulator, 1)[0])
        bridge = access["environment"]
        with started("run", environment={**data, **bridge, "ECPROC_WEB__LISTEN": "127.0.0.1:0"}) as processor:
            events = [json.loads(line) for line in read_lines(follower, 5)]
            assert [event["position"] for event in events] == [1, 2, 3, 4, 5]
            assert "MessageReceived" in {event["kind"] for event in events}
            behind = run("events", "--after", "3", environment=data)
            assert json.loads(behind.stdout.splitlines()[0])["position"] == 4
            assert run("log", "verify", environment=data).returncode == ExitCode.OK
            assert run("replay", environment=data).returncode == ExitCode.DATA_DIR_IN_USE
            processor.send_signal(signal.SIGTERM)
            assert processor.wait(timeout=30) == ExitCode.OK
        follower.send_signal(signal.SIGINT)
        assert follower.wait(timeout=30) == ExitCode.INTERRUPTED
        assert follower.stderr is not None
        assert follower.stderr.read() == ""
        simulator.send_signal(signal.SIGINT)
        assert simulator.wait(timeout=30) == ExitCode.INTERRUPTED


def test_a_simulated_instance_takes_a_record_and_says_at_its_end_what_it_took(tmp_path: Path) -> None:
    data = configure(ECPROC_DATA__DIR=str(tmp_path))
    with started("simulate", "servicenow", "--port", "0", "--faults", "mild", environment=data) as simulator:
        access = json.loads(read_lines(simulator, 1)[0])
        assert access["environment"]["SERVICENOW_URL"] == access["url"]
        with httpx.Client(base_url=access["url"], auth=(access["username"], access["password"])) as client:
            rates = client.get("/simulator/faults").json()["rates"]["shares"]
            assert rates == {"lost_answer": 0.05, "slow": 0.02, "apply_late": 0.005}
            client.delete("/simulator/faults")
            made = client.post("/api/now/table/incident", json={"correlation_id": "k"})
            assert client.get("/simulator/ledger").json()["created"] == {"k": [made.json()["result"]["number"]]}
        taken = run("simulate", "servicenow", "--port", access["url"].rpartition(":")[2], environment=data)
        assert (taken.returncode, "cannot be used" in taken.stderr) == (ExitCode.FAILED, True)
        simulator.send_signal(signal.SIGINT)
        assert simulator.wait(timeout=30) == ExitCode.INTERRUPTED
        assert simulator.stderr is not None
        assert "created 1 · notes 0 · attachments 0 · doubles 0" in simulator.stderr.read()


def test_a_reader_that_leaves_early_is_no_failure(tmp_path: Path) -> None:
    with started("config", "init", environment=configure(ECPROC_DATA__DIR=str(tmp_path))) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=30) == ExitCode.OK
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.slow
@pytest.mark.requirement("R230", "I1", "I4")
def test_the_demo_proves_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = run("demo", "--messages", "100", environment=configure(TMPDIR=str(tmp_path)))
    assert done.returncode == ExitCode.OK, done.stderr
    proof = PROOF.fullmatch(done.stdout)
    assert proof is not None, done.stdout
    assert float(proof[2]) >= 2
    assert done.stderr.count("killed with") == 2
    assert "ecproc show e-" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.requirement("I4")
def test_the_demo_of_a_desk_proves_both_directions_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = run("demo", "--scenario", "desk", "--messages", "100", environment=configure(TMPDIR=str(tmp_path)))
    assert done.returncode == ExitCode.OK, done.stderr
    assert DESK_PROOF.fullmatch(done.stdout), done.stdout
    assert done.stderr.count("killed with") == 2
    assert "edits at the desk while nothing runs" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_demo_that_is_stopped_takes_its_processor_along(tmp_path: Path) -> None:
    with started("demo", environment=configure(TMPDIR=str(tmp_path))) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == ExitCode.INTERRUPTED
    assert list(tmp_path.iterdir()) == []
