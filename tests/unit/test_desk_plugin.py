"""Desks of other packages: which are found, what is said of those that are of no use, and their options."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import pytest
from msgspec import Meta, Struct, field

from ecproc.clock import SystemClock
from ecproc.config import Config, Secret, Secrets, describe_config, list_secret_texts, load_config
from ecproc.config.desks import find_fault
from ecproc.desk.finding import DeskFinding
from ecproc.desk.plugin import DeskContext, DeskPlugin, check_plugin, load_plugin, open_plugin
from ecproc.errors import ConfigError, ConfigProblem, ExitCode
from ecproc.mapping import default_mapping
from tests.desk_packages import install, install_example

CANARY: Final = "canary-of-a-desk"
GOOD: Final = """\
from msgspec import Struct
from ecproc.desk.plugin import DeskPlugin

class Options(Struct):
    size: int = 1

async def open_desk(options, context):
    {body}

PLUGIN = DeskPlugin(options=Options, open=open_desk)
"""

Place = Callable[..., Path]


class Options(Struct, frozen=True, kw_only=True):
    """The section of a desk."""

    token: Secret
    tokens: tuple[Secret, ...] = ()
    size: Annotated[int, Meta(ge=1, le=9, description="how large it is")] = 3
    is_loud: bool = False
    speed: float = 1
    mode: Literal["slow", "fast"] = "slow"
    groups: tuple[str, ...] = field(default=("a",), name="group_names")

    def __post_init__(self) -> None:
        if self.size == 9:
            raise ValueError(f"nine is too much for {self.token.reveal()}")
        if self.size == 8:
            raise ValueError("eight is too much")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Lay a package out where it is found, and forget its modules after the test."""
    known = set(sys.modules)
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def lay_out(name: str, program: str, points: str, *, folder: Path = site) -> Path:
        return install(folder, name, program, points)

    yield lay_out
    for name in sys.modules.keys() - known:
        if "desk_" in name:
            del sys.modules[name]


def find(kind: str) -> type[Struct]:
    """The options of a desk that is always there."""
    assert kind == "toy"
    return Options


def load(text: str, tmp_path: Path, **variables: str) -> Config:
    path = tmp_path / "ecproc.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    env = {f"ECPROC_{name}": value for name, value in variables.items()}
    return load_config(path, env, require_bridge=False, find_desk=find)


def problems_of(call: Callable[[], object]) -> list[ConfigProblem]:
    with pytest.raises(ConfigError) as caught:
        call()
    assert caught.value.exit_code == ExitCode.CONFIG
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return [*caught.value.problems]


TOY: Final = '[desk]\nkind = "toy"\n[desk.toy]\n'


def test_its_section_is_read_as_ours_are(tmp_path: Path) -> None:
    text = f'{TOY}token = "{CANARY}"\nsize = 5\nis_loud = true\ngroup_names = ["x", "y"]\n'
    config = load(text, tmp_path, DESK_TOY__SIZE="7", DESK_TOY__MODE="fast", DESK_TOY__SPEED="2")
    options = config.desk_options
    assert isinstance(options, Options)
    assert (options.size, options.mode, options.is_loud, options.groups) == (7, "fast", True, ("x", "y"))
    rows = {row.key: row for row in describe_config(config)}
    assert rows["desk.toy.token"][1:] == ("***", f"{tmp_path}/ecproc.toml:4")
    assert rows["desk.toy.size"][1:] == (7, "env ECPROC_DESK_TOY__SIZE")
    assert rows["desk.toy.group_names"].value == ("x", "y")
    assert rows["desk.toy.tokens"].origin == "default"
    assert CANARY in list_secret_texts(config)
    assert CANARY not in str(config)


def test_without_such_a_desk_nobody_is_asked_for_one(tmp_path: Path) -> None:
    def refuse(kind: str) -> type[Struct]:
        raise AssertionError(kind)

    for kind in ("local", "webhook"):
        path = tmp_path / "ecproc.toml"
        path.write_text('[desk.webhook]\nurl = "https://example.com"\n', encoding="utf-8")
        env = {"ECPROC_DESK__KIND": kind, "ECPROC_DESK_WEBHOOK__SECRETS": "whsec_" + "A" * 32}
        assert load_config(path, env, require_bridge=False, find_desk=refuse).desk_options is None


@pytest.mark.requirement("I11")
@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        (TOY, {}, [("desk.toy.token is required", "ecproc.toml:3", "set ECPROC_DESK_TOY__TOKEN")]),
        (
            f"{TOY}token = 'abc'\nsize = 12\nsizes = 1\n",
            {},
            [
                ("desk.toy.size must be a whole number from 1 to 9, not 12", "ecproc.toml:5", ""),
                ("unknown key desk.toy.sizes", "ecproc.toml:6", "did you mean desk.toy.size?"),
            ],
        ),
        (
            f"{TOY}token = 5\nis_loud = 'yes'\n",
            {},
            [
                ("desk.toy.token must be text", "ecproc.toml:4", ""),
                ("desk.toy.is_loud must be true or false, not 'yes'", "ecproc.toml:5", ""),
            ],
        ),
        (
            TOY,
            {"DESK_TOY__TOKEN": "abc", "DESK_TOY__SISE": "1", "DESK_TOY__MODE": "quick"},
            [
                ('desk.toy.mode must be "slow" or "fast", not \'quick\'', "ECPROC_DESK_TOY__MODE", ""),
                (
                    "unknown variable ECPROC_DESK_TOY__SISE",
                    "ECPROC_DESK_TOY__SISE",
                    "did you mean ECPROC_DESK_TOY__SIZE?",
                ),
            ],
        ),
        (
            f"{TOY}token = '{CANARY}'\nsize = 8\n",
            {},
            [("[desk.toy] is refused by its desk: eight is too much", "ecproc.toml:3", "")],
        ),
        (
            f"{TOY}token = '{CANARY}'\nsize = 9\n",
            {},
            [("[desk.toy] is refused by its desk: ValueError", "ecproc.toml:3", "")],
        ),
    ],
)
def test_every_problem_of_its_section_is_named(
    text: str, variables: dict[str, str], expected: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    found = problems_of(lambda: load(text, tmp_path, **variables))
    shown = [(one.message, one.location.removeprefix(f"{tmp_path}/"), one.help) for one in found]
    assert [(message, place, advice.partition(" or ECPROC")[0]) for message, place, advice in shown] == expected
    assert CANARY not in str(found)


def test_a_secret_of_it_that_others_may_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ecproc.toml"
    path.write_text(f"{TOY}token = 'abc'\n", encoding="utf-8")
    path.chmod(0o644)
    (warning,) = load_config(path, {}, require_bridge=False, find_desk=find).warnings
    assert warning.message == f"other users may read {path}, which holds a secret"


def test_its_secrets_follow_their_files(tmp_path: Path) -> None:
    for name, content in (("one", "first\n"), ("many", "a b\nc\n")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        (tmp_path / name).chmod(0o600)
    config = load(
        TOY, tmp_path, DESK_TOY__TOKEN_FILE=str(tmp_path / "one"), DESK_TOY__TOKENS_FILE=str(tmp_path / "many")
    )
    secrets = Secrets(config, lambda change: None)
    context = DeskContext(
        SystemClock(), tmp_path, default_mapping("toy"), lambda key: secrets[f"desk.toy.{key}"].values
    )
    assert (context.secret("token").reveal(), [one.reveal() for one in context.secrets("tokens")]) == (
        "first",
        ["a b", "c"],
    )
    (tmp_path / "one").write_text("second\n", encoding="utf-8")
    (tmp_path / "many").write_text("c\nd\ne\n", encoding="utf-8")
    assert secrets.look() == ["desk.toy.token", "desk.toy.tokens"]
    assert context.secret("token") == Secret("second")
    assert [one.reveal() for one in context.secrets("tokens")] == ["c", "d", "e"]


def test_a_package_that_is_installed_is_found(place: Place) -> None:
    place("desk-good", GOOD.format(body="return None"), "good = desk_good:PLUGIN")
    found = load_plugin("good")
    assert (found.package, found.options.__name__) == ("desk-good 1.0", "Options")


def test_an_unknown_name_is_told_with_those_that_are_there(place: Place) -> None:
    place(
        "desk-good",
        GOOD.format(body="return None"),
        "good = desk_good:PLUGIN\nTu-es = desk_good:X\nlocal = desk_good:X",
    )
    (problem,) = problems_of(lambda: load_plugin("goood"))
    assert problem.message == "unknown desk.kind 'goood'"
    assert problem.help == "did you mean good? known here: local, servicenow, webhook, good"


USELESS: Final = {
    "no module": ("import nothing_of_that_name", "bad = desk_bad:PLUGIN", "ModuleNotFoundError: No module named"),
    "a failure": ("\nraise ValueError('x\\x1b[31m')", "bad = desk_bad:PLUGIN", "ValueError: x\x1b[31m (desk_bad.py:2)"),
    "an exit": ("import sys\nsys.exit('enough')", "bad = desk_bad:PLUGIN", "SystemExit: enough (desk_bad.py:2)"),
    "no object": ("", "bad = desk_bad:PLUGIN", "AttributeError: module 'desk_bad' has no attribute 'PLUGIN'"),
    "another object": ("PLUGIN = print", "bad = desk_bad:PLUGIN", "a builtin_function_or_method, not a DeskPlugin"),
    "a class": (
        "from ecproc.desk.plugin import DeskPlugin as PLUGIN",
        "bad = desk_bad:PLUGIN",
        "is a StructMeta, not a DeskPlugin",
    ),
    "no struct": (
        "from ecproc.desk.plugin import DeskPlugin\nPLUGIN = DeskPlugin(options=dict, open=print)",
        "bad = desk_bad:PLUGIN",
        "its options are no msgspec.Struct",
    ),
}


@pytest.mark.parametrize("case", USELESS)
def test_one_of_no_use_is_named_with_its_package(case: str, place: Place) -> None:
    program, points, reason = USELESS[case]
    place("desk-bad", program, points)
    (problem,) = problems_of(lambda: load_plugin("bad"))
    assert problem.message.startswith("desk.kind 'bad' of desk-bad 1.0: ")
    assert reason in problem.message


def test_a_name_that_two_bring_is_nobodys(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place("desk-one", GOOD.format(body="return None"), "both = desk_one:PLUGIN")
    place("desk-two", GOOD.format(body="return None"), "both = desk_two:PLUGIN")
    (problem,) = problems_of(lambda: load_plugin("both"))
    assert problem.message == "desk.kind 'both' of desk-one 1.0 and desk-two 1.0: both bring it"


@pytest.mark.parametrize("name", ["Good", "go_od", "9good", "local"])
def test_a_name_that_none_can_have_is_refused(name: str, place: Place) -> None:
    place("desk-named", GOOD.format(body="return None"), f"{name} = desk_named:PLUGIN")
    (problem,) = problems_of(lambda: load_plugin(name))
    assert problem.message == f"desk.kind '{name}' of desk-named 1.0: it cannot be called that"


def test_entry_points_that_cannot_be_read_are_told(place: Place) -> None:
    place("desk-torn", "", "without an equals sign")
    (problem,) = problems_of(lambda: load_plugin("torn"))
    assert problem.message.startswith("what is installed cannot be listed: TypeError")


def make_struct(**fields: tuple[Any, Any]) -> type[Struct]:
    """A struct of these fields with their defaults; one of ... has none."""
    defined = [(name, kind) if value is ... else (name, kind, value) for name, (kind, value) in fields.items()]
    return msgspec.defstruct("Made", defined, kw_only=True)


@pytest.mark.parametrize(
    ("struct", "fault"),
    [
        (Options, ""),
        (make_struct(path=(Path, Path("x")), names=(tuple[str, ...], ())), ""),
        (dict, "its options are no msgspec.Struct"),
        (make_struct(one=(str | None, None)), "its option 'one' is of a type that none can be of"),
        (make_struct(one=(list[str], ...)), "its option 'one' is of a type that none can be of"),
        (make_struct(one=(tuple[Annotated[Secret, Meta(description="x")], ...], ())), "its option 'one' is of a type"),
        (make_struct(one=(int, "1")), "the default of its option 'one' is not of its type"),
        (make_struct(One=(int, 1)), "its option 'One' is not named in lower case"),
        (make_struct(one__two=(int, 1)), "its option 'one__two' is not named in lower case"),
        (
            make_struct(key=(Secret, ...), key_file=(str, "")),
            "its option 'key_file' has the variable of a secret's file",
        ),
    ],
)
def test_which_options_there_can_be(struct: object, fault: str) -> None:
    assert find_fault(struct).startswith(fault)
    assert bool(find_fault(struct)) == bool(fault)


OPENINGS: Final = {
    "return None": "what it opens is no Desk: a NoneType has no repeat_of, ends_after, perform, look_up, aclose",
    "raise KeyError('where')": "it cannot be opened: KeyError: 'where' (desk_opens.py:8)",
    "raise SystemExit(3)": "it cannot be opened: SystemExit: 3 (desk_opens.py:8)",
    f"raise ValueError('{CANARY}')": "it cannot be opened: ValueError (desk_opens.py:8)",
}


@pytest.mark.requirement("I11")
@pytest.mark.parametrize("body", OPENINGS)
async def test_a_desk_that_cannot_be_opened_is_named_with_its_package(body: str, place: Place, tmp_path: Path) -> None:
    place("desk-opens", GOOD.format(body=body), "opens = desk_opens:PLUGIN")
    text = f"[desk]\nkind = 'opens'\n[data]\ndir = '{tmp_path}/data'\n[bridge]\napi_key = '{CANARY}'\n"
    (tmp_path / "ecproc.toml").write_text(text, encoding="utf-8")
    config = load_config(
        tmp_path / "ecproc.toml", {}, require_bridge=False, find_desk=lambda kind: load_plugin(kind).options
    )
    with pytest.raises(ConfigError) as caught:
        await open_plugin(
            config, mapping=default_mapping("toy"), secrets=Secrets(config, lambda change: None), clock=SystemClock()
        )
    assert caught.value.problems[0].message == f"desk.kind 'opens' of desk-opens 1.0: {OPENINGS[body]}"
    assert CANARY not in "".join(traceback.format_exception(caught.value))


async def test_no_room_for_its_file_is_no_fault_of_it(place: Place, tmp_path: Path) -> None:
    place("desk-full", GOOD.format(body="raise OSError(28, 'No space left on device')"), "full = desk_full:PLUGIN")
    config = Config(desk=Config().desk.__class__(kind="full"), desk_options=load_plugin("full").options())
    with pytest.raises(OSError, match="No space left"):
        await open_plugin(
            config, mapping=default_mapping("toy"), secrets=Secrets(config, lambda change: None), clock=SystemClock()
        )


CHECKED: Final = """\
from msgspec import Struct
from ecproc.desk.finding import DeskFinding
from ecproc.desk.plugin import DeskPlugin

class Options(Struct):
    size: int = 1

async def check(options, context):
    {body}

PLUGIN = DeskPlugin(options=Options, open=check, check=check)
"""


async def check_of(place: Place, body: str, tmp_path: Path) -> object:
    place("desk-checked", CHECKED.format(body=body), "checked = desk_checked:PLUGIN")
    kind = Config().desk.__class__(kind="checked")
    config = Config(desk=kind, desk_options=load_plugin("checked").options(), data=Config().data)
    return await check_plugin(
        config, mapping=default_mapping("toy"), secrets=Secrets(config, lambda change: None), clock=SystemClock()
    )


async def test_its_own_check_is_asked(place: Place, tmp_path: Path) -> None:
    body = "return [DeskFinding('size', 'error', f'{options.size} is small', 'make it larger')]"
    assert await check_of(place, body, tmp_path) == (DeskFinding("size", "error", "1 is small", "make it larger"),)


@pytest.mark.parametrize("body", ["return ['bad']", "return 3", "raise KeyError('x')"])
async def test_a_check_that_fails_is_named_with_its_package(body: str, place: Place, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"desk\.kind 'checked' of desk-checked 1\.0: its check"):
        await check_of(place, body, tmp_path)


def test_a_plugin_without_a_check_is_told_so(tmp_path: Path) -> None:
    site = install_example(tmp_path / "site")
    root = Path(__file__).parents[2]
    env = {
        "PYTHONPATH": f"{site}:{root}",
        "ECPROC_DESK__KIND": "toy",
        "ECPROC_DESK_TOY__TOKEN": "toy-token",
        "ECPROC_DATA__DIR": str(tmp_path / "data"),
    }
    command = [sys.executable, "-m", "ecproc", "desk", "check"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    assert (done.returncode, json.loads(done.stdout)) == (
        0,
        {"ok": True, "desk": "toy", "findings": [], "notes": ["the toy desk brings no check: nothing was asked"]},
    )
    assert not (tmp_path / "data").exists()


def test_what_is_installed_is_looked_at_for_such_a_desk_only(tmp_path: Path) -> None:
    """A start must not wait for it. The second half is the negative control."""
    site = install_example(tmp_path / "site")
    program = (
        "import sys; from ecproc.cli import main; main(['config', 'show']); print('importlib.metadata' in sys.modules)"
    )
    seen = {}
    for kind in ("local", "toy"):
        env = {"PYTHONPATH": f"{site}:{Path(__file__).parents[2]}", "ECPROC_DESK__KIND": kind}
        env |= {"ECPROC_DESK_TOY__TOKEN": "toy-token"} if kind == "toy" else {}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        seen[kind] = done.stdout.splitlines()[-1]
    assert seen == {"local": "False", "toy": "True"}


def test_a_plugin_is_a_value() -> None:
    async def open_desk(options: Options, context: DeskContext) -> object:
        return options, context

    assert DeskPlugin(options=Options, open=open_desk).check is None  # type: ignore[arg-type]
