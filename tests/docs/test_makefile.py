"""What `make` says about itself, and what it sets up in which shell: uv and the interpreters are stand-ins."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from ecproc import __version__

REPOSITORY: Final = Path(__file__).parents[2]
UV: Final = """\
#!/bin/sh
[ "$*" != --version ] || { echo uv 1.0; exit; }
echo "uv $*" >>"$NOTES"
env | grep -E "^(UV_|PIP_|PYTHON|VIRTUAL_ENV)" | sort >"$NOTES.env"
[ ! -e "$NOTES.fails" ] || case "$*" in *"$(cat "$NOTES.fails")"*) exit 3 ;; esac
[ "$1" != venv ] || for folder; do :; done
[ "$1" != venv ] || [ ! -e "$folder" ] || { echo "$folder exists" >&2; exit 2; }
[ "$1" != venv ] || { mkdir -p "$folder/bin" && cp "$STAND_INS/interpreter" "$folder/bin/python"; }
"""
INTERPRETER: Final = f"""\
#!/bin/sh
[ "$1" = -m ] || [ "$1" = -W ] || exec "{sys.executable}" "$@"
echo "run $0 $*" >>"$NOTES"
[ ! -e "$NOTES.fails" ] || case "$*" in *"$(cat "$NOTES.fails")"*) exit 3 ;; esac
"""
LOCKS: Final = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")
ABSENT: Final = "#!/bin/sh\nexit 127\n"
TOLD: Final = "SKIPPED: unit and runtime once more on Python 3.13"


def make(*arguments: str) -> str:
    command = ["make", "--no-print-directory", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


class Checkout:
    """A checkout that holds the Makefile and what it asks for, under a path that is hard on shells."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a checkout"
        self.path.mkdir()
        for name in ("Makefile", "pyproject.toml", *LOCKS):
            shutil.copy(REPOSITORY / name, self.path)
        self._stand_ins = folder / "bin"
        self._stand_ins.mkdir()
        self.notes = folder / "notes"
        scripts = {"uv": UV, "python3": INTERPRETER, "interpreter": INTERPRETER, "python3.13": ABSENT, "pyenv": ABSENT}
        for name, text in scripts.items():
            self.put(name, text)

    def put(self, name: str, text: str) -> None:
        """Let this be found under that name, before any other."""
        (self._stand_ins / name).write_text(text)
        (self._stand_ins / name).chmod(0o755)

    def make(self, *arguments: str, **shell: str) -> subprocess.CompletedProcess[str]:
        """Run make in a shell that sets these variables, with nothing noted yet."""
        self.notes.write_text("")
        places = {"NOTES": str(self.notes), "STAND_INS": str(self._stand_ins)}
        return subprocess.run(
            ["make", "--no-print-directory", *arguments],
            cwd=self.path,
            env={"PATH": f"{self._stand_ins}:{os.defpath}", **places, **shell},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def steps(self) -> list[str]:
        """What the last run set up and ran, each step by the words that tell it from the others."""
        set_up = "venv -q|pip_audit.*|build -q.*|requirements.*lock|--no-deps -e"
        words = f"{set_up}|pytest.*|benchmarks.*|tests.torture"
        return [found[0] for line in self.notes.read_text().splitlines() if (found := re.search(words, line))]

    @property
    def settings(self) -> dict[str, str]:
        """What uv was started with."""
        return dict(line.split("=", 1) for line in Path(f"{self.notes}.env").read_text().splitlines())


FROM_NOTHING: Final = ["venv -q", "requirements.lock", "--no-deps -e", "requirements-dev.lock"]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_help_names_every_target_and_is_what_make_does_alone() -> None:
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert phony

    lines = make("help").splitlines()

    assert [line.split()[:2] for line in lines] == [["make", target] for target in phony[1].split()]
    assert all(len(line) <= 120 for line in lines)
    assert make().splitlines() == lines


@pytest.mark.parametrize(
    ("target", "ran"),
    [
        ("test", "pytest -q -n auto --dist worksteal --few"),
        ("bench", "benchmarks --few"),
        ("torture", "tests.torture"),
    ],
)
def test_a_target_sets_up_all_it_needs_once(checkout: Checkout, target: str, ran: str) -> None:
    first = checkout.make(target, "ARGS=--few")
    assert first.returncode == 0, first.stderr
    assert first.stderr == "setting up .venv …\n"
    assert checkout.steps == [*FROM_NOTHING, ran]

    again = checkout.make(target, "ARGS=--few")
    assert (checkout.steps, again.stderr) == ([ran], "")


def test_only_what_says_where_packages_come_from_is_taken_from_the_shell(checkout: Checkout) -> None:
    kept = {
        "PIP_INDEX_URL": "https://mirror.invalid/simple",
        "PIP_CERT": "/ca.pem",
        "UV_INDEX_INTERNAL_PASSWORD": "word",
        "UV_HTTP_TIMEOUT": "9",
    }
    left = {
        "PIP_USER": "1",
        "PIP_REQUIRE_HASHES": "1",
        "UV_PYTHON": "3.9",
        "UV_REQUIRE_HASHES": "1",
        "UV_CACHE_DIR": "/proc/nope",
        "PYTHONPATH": "/nope",
        "PYTHONHOME": "/nope",
        "VIRTUAL_ENV": "/nope",
    }

    ended = checkout.make(".venv/.run", **kept, **left)

    assert ended.returncode == 0, ended.stderr
    ours = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_SYSTEM_CERTS": "1", "UV_DEFAULT_INDEX": kept["PIP_INDEX_URL"]}
    assert checkout.settings == {**kept, **ours, "UV_CACHE_DIR": str(checkout.path / ".uv" / "cache")}


def test_an_audit_asks_about_each_lock_and_ends_at_the_first_that_has_a_known_vulnerability(checkout: Checkout) -> None:
    asked = [f"pip_audit --strict --disable-pip --require-hashes -r {lock}" for lock in LOCKS]

    whole = checkout.make("audit")
    assert whole.returncode == 0, whole.stderr
    assert [without_looks(step) for step in checkout.steps[len(FROM_NOTHING) :]] == asked
    assert whole.stdout.splitlines() == [*LOCKS]

    Path(f"{checkout.notes}.fails").write_text("-r requirements-dev.lock")
    assert checkout.make("audit").returncode != 0
    assert [without_looks(step) for step in checkout.steps] == asked[:2]


def without_looks(step: str) -> str:
    return re.sub(r" --(?:progress-spinner|cache-dir) \S+", "", step)


def test_a_release_is_built_by_what_is_held_by_hash(checkout: Checkout) -> None:
    (checkout.path / "dist").mkdir()
    (checkout.path / "dist" / "of-yesterday.whl").touch()

    assert checkout.make("dist").returncode == 0
    assert (
        checkout.steps[-1] == "build -q -p .venv --build-constraints requirements-build.lock --require-hashes -o dist"
    )
    assert not (checkout.path / "dist").exists()  # the stand-in builds nothing


def test_a_release_is_of_the_version_that_its_tag_names(checkout: Checkout) -> None:
    assert checkout.make("dist", TAG=f"v{__version__}").returncode == 0

    other = checkout.make("dist", TAG="v9.9; exit 0")
    assert other.returncode != 0
    assert f"error: the tag is v9.9; exit 0, the version v{__version__}" in other.stderr
    assert checkout.steps == []


@pytest.mark.parametrize("broken_off", FROM_NOTHING)
def test_what_was_left_half_made_is_made_anew(checkout: Checkout, broken_off: str) -> None:
    fails = Path(f"{checkout.notes}.fails")
    fails.write_text(broken_off)
    assert checkout.make(".venv/.dev").returncode != 0
    assert checkout.steps[-1] == broken_off
    fails.unlink()

    assert checkout.make(".venv/.dev").returncode == 0
    assert checkout.steps == FROM_NOTHING


def test_an_environment_that_was_moved_or_runs_no_more_is_made_anew(checkout: Checkout) -> None:
    checkout.make(".venv/.dev")
    checkout.path = checkout.path.rename(checkout.path.with_name("elsewhere"))
    assert checkout.make(".venv/.dev").returncode == 0
    assert checkout.steps == FROM_NOTHING

    (checkout.path / ".venv" / "bin" / "python").unlink()
    assert checkout.make(".venv/.dev").returncode == 0
    assert checkout.steps == FROM_NOTHING


def test_another_python_is_another_environment_only_for_who_asks_for_it(checkout: Checkout) -> None:
    checkout.make(".venv/.dev")
    other = INTERPRETER.replace("exec", f'{{ [ "$1" = -E ] && echo {0x40000F0} && exit; }} || exec', 1)
    checkout.put("python4", other)
    assert checkout.make(".venv/.dev").returncode == 0
    assert checkout.steps == []

    assert checkout.make(".venv/.dev", PYTHON="python4").returncode == 0
    assert checkout.steps == FROM_NOTHING


def test_a_python_that_is_too_old_is_refused_before_anything_is_fetched(checkout: Checkout) -> None:
    checkout.put("python3", f"""#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.version_info = (3, 10); $2"\n""")

    ended = checkout.make("demo")

    assert ended.returncode != 0
    assert "error: ecproc needs Python 3.11 or newer" in ended.stderr
    assert checkout.notes.read_text() == ""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there is no next Python")
def test_a_next_python_that_does_not_run_is_told(checkout: Checkout) -> None:
    told = checkout.make("test")
    assert (told.returncode, TOLD in told.stderr) == (0, True)

    narrowed = checkout.make("test", "ARGS=tests/unit")
    assert (narrowed.returncode, narrowed.stderr) == (0, "")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there is no next Python")
def test_a_next_python_is_found_on_the_path_and_behind_the_shim_of_a_version_manager(checkout: Checkout) -> None:
    checkout.put("python3.13", INTERPRETER)
    assert checkout.make("test").stderr == "setting up .venv …\nsetting up .venv-313 …\n"
    assert checkout.steps[-1] == "pytest -q -n auto --dist worksteal -p no:cacheprovider"

    checkout.put("python3.13", INTERPRETER.replace("[", '[ "$PYENV_VERSION" = 3.13.7 ] || exit 127\n[', 1))
    checkout.put("pyenv", '#!/bin/sh\n[ "$*" = "latest 3.13" ] && echo 3.13.7\n')
    found = checkout.make("test", CI="true")
    assert (found.returncode, found.stderr) == (0, "")
    assert checkout.steps == [
        "pytest -q -n auto --dist worksteal",
        "pytest -q -n auto --dist worksteal -p no:cacheprovider",
    ]
