"""The requirements page: every number on one line, with the tests that cite it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "docs" / "build_requirements.py"


def build(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--root", str(root), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a checkout that has the hand-written texts and no tests."""
    for folder in ("docs", "tests/unit", "tests/simulation", "tests/conformance", "tests/acceptance", "ecproc/testing"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(REPOSITORY / "docs" / "requirements.toml", tmp_path / "docs")
    return tmp_path


def write_test(tree: Path, text: str, *, name: str = "tests/unit/test_it.py", head: str = "import ecproc.wire") -> None:
    (tree / name).write_text(f"{head}\n{text}", encoding="utf-8")


def read_line(tree: Path, number: str) -> str:
    lines = (tree / "docs" / "requirements.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith((f"- **{number}** ", f"| {number} "))]
    return line


def test_the_page_in_this_tree_is_what_its_sources_say() -> None:
    checked = build(REPOSITORY, "--check")

    assert checked.returncode == 0, checked.stderr


def test_every_number_has_its_line_and_is_open_until_a_test_cites_it(tree: Path) -> None:
    assert build(tree).returncode == 0

    for number in range(1, 294):
        assert read_line(tree, f"R{number}").endswith("**open**") or number == 32
    assert "Withdrawn" in read_line(tree, "R32")


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        pytest.param("@pytest.mark.requirement('R27')\ndef test_a(): ...", "::test_a", id="test"),
        pytest.param("@pytest.mark.requirement('R27')\nasync def test_a(): ...", "::test_a", id="async test"),
        pytest.param("@pytest.mark.requirement('R27')\nclass TestA: ...", "::TestA", id="class"),
        pytest.param("class TestA:\n    @pytest.mark.requirement('R27')\n    def test_a(self): ...", "::TestA::test_a"),
        pytest.param("class TestA:\n    pytestmark = pytest.mark.requirement('R27')", "::TestA", id="class pytestmark"),
        pytest.param("pytestmark = pytest.mark.requirement('R27')", "", id="module pytestmark"),
        pytest.param("pytestmark = [pytest.mark.slow, pytest.mark.requirement('R27')]", "", id="one of several"),
        pytest.param("ROWS = [pytest.param(1, marks=pytest.mark.requirement('R27'))]", "", id="a table of rows"),
        pytest.param(
            "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.requirement('R27'))])\n"
            "def test_a(x): ...",
            "::test_a",
            id="a row",
        ),
    ],
)
def test_a_marker_is_found_wherever_pytest_takes_one(tree: Path, text: str, cited: str) -> None:
    write_test(tree, text)

    assert build(tree).returncode == 0
    assert read_line(tree, "R27").endswith(f"· `tests/unit/test_it.py{cited}`")


def test_the_shipped_suite_counts_too(tree: Path) -> None:
    suite = "ecproc/testing/store.py"
    write_test(
        tree, "class StoreTests:\n    @pytest.mark.requirement('I1')\n    async def test_a(self): ...", name=suite
    )

    assert build(tree).returncode == 0
    assert read_line(tree, "I1").endswith(f"| `{suite}::StoreTests::test_a` |")


CITES = "@pytest.mark.requirement('R27')\ndef test_a(): ..."


@pytest.mark.parametrize(
    ("other", "head"),
    [
        ("tests/simulation/test_queue_model.py", "from ecproc.simulator.queue import Queue"),
        (
            "tests/simulation/test_queue_model.py",
            "from ecproc.simulator.queue import Queue\nfrom ecproc.clock import Clock",
        ),
        ("tests/conformance/test_emulated.py", "from ecproc.simulator.queue import Queue"),
        ("tests/conformance/test_emulated.py", "from ecproc import simulator"),
        ("tests/conformance/test_emulated.py", "from tests.conformance import helper"),
        ("tests/conformance/test_emulated.py", "import tests.conformance.helper"),
    ],
)
def test_a_test_of_the_other_side_is_named_and_proves_nothing(tree: Path, other: str, head: str) -> None:
    write_test(tree, "", name="tests/conformance/helper.py", head="def start():\n    import ecproc.simulator.server")
    write_test(tree, CITES, name=other, head=head)
    assert build(tree).returncode == 0
    assert read_line(tree, "R27").endswith(f"· **open** · bridge: `{other}::test_a`")
    assert "Of 293, 0 have a test" in (tree / "docs" / "requirements.md").read_text(encoding="utf-8")

    write_test(tree, CITES)
    assert build(tree).returncode == 0
    assert read_line(tree, "R27").endswith(f"· `tests/unit/test_it.py::test_a` · bridge: `{other}::test_a`")
    assert "Of 293, 1 have a test" in (tree / "docs" / "requirements.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("tests/conformance/test_it.py", "from ecproc.simulator.queue import Queue\nfrom ecproc.bridge import base"),
        ("tests/conformance/test_it.py", "from ecproc import bridge"),
        ("tests/conformance/test_it.py", "from tests.conformance.helper import serve"),
        ("tests/acceptance/test_it.py", "from ecproc.simulator.queue import Queue"),
        ("tests/acceptance/test_it.py", "import subprocess"),
    ],
)
def test_a_test_that_has_the_processor_counts_whatever_stands_opposite(tree: Path, name: str, head: str) -> None:
    write_test(
        tree, "", name="tests/conformance/helper.py", head="import ecproc.simulator.server\nimport ecproc.pipeline"
    )
    write_test(tree, CITES, name=name, head=head)

    assert build(tree).returncode == 0
    assert read_line(tree, "R27").endswith(f"· `{name}::test_a`")


@pytest.mark.parametrize("head", ["import ministack", "from tests.conformance.faultserver import FaultServer"])
def test_a_citation_where_nothing_of_ours_is_under_test_cannot_stand(tree: Path, head: str) -> None:
    write_test(tree, "", name="tests/conformance/faultserver.py", head="import asyncio")
    write_test(tree, CITES, head=head)

    refused = build(tree)

    assert refused.returncode == 1
    assert "tests/unit/test_it.py cites numbers and imports nothing of ecproc" in refused.stderr


def test_rulings_and_invariants_stand_on_the_page_only_where_cited(tree: Path) -> None:
    write_test(tree, "@pytest.mark.requirement('R15', 'C1')\ndef test_a(): ...")

    assert build(tree).returncode == 0
    assert "test_a" in read_line(tree, "C1")
    assert "| C2 " not in (tree / "docs" / "requirements.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("@pytest.mark.requirement('R294')\ndef test_a(): ...", "R294, which does not exist", id="unknown"),
        pytest.param(
            "@pytest.mark.requirement('R1', 'R2', 'R3', 'R4')\ndef test_a(): ...", "cites 4 numbers", id="too many"
        ),
        pytest.param(
            "pytestmark = pytest.mark.requirement('R1', 'R2')\n"
            "@pytest.mark.requirement('R3')\nclass TestA:\n"
            "    @pytest.mark.requirement('R4')\n    def test_a(self): ...",
            "cites 4 numbers (R1, R2, R3, R4)",
            id="too many with what it inherits",
        ),
        pytest.param("@pytest.mark.requirement(NUMBER)\ndef test_a(): ...", "literal", id="not a literal"),
        pytest.param("@pytest.mark.requirement()\ndef test_a(): ...", "literal", id="nothing"),
    ],
)
def test_a_citation_that_cannot_stand_is_named_and_nothing_written(tree: Path, text: str, complaint: str) -> None:
    write_test(tree, text)

    built = build(tree)

    assert built.returncode == 1
    assert "tests/unit/test_it.py" in built.stderr
    assert complaint in built.stderr
    assert not (tree / "docs" / "requirements.md").exists()


def test_rows_of_one_test_cite_each_for_itself(tree: Path) -> None:
    rows = ", ".join(f"pytest.param(1, marks=pytest.mark.requirement('R{number}'))" for number in range(183, 193))
    write_test(tree, f"@pytest.mark.parametrize('x', [{rows}])\n@pytest.mark.requirement('C18')\ndef test_a(x): ...")

    assert build(tree).returncode == 0
    assert all("test_a" in read_line(tree, f"R{number}") for number in range(183, 193))


def test_a_stale_page_is_named_by_its_first_wrong_line(tree: Path) -> None:
    assert build(tree).returncode == 0
    write_test(tree, "@pytest.mark.requirement('R1')\ndef test_a(): ...")

    stale = build(tree, "--check")

    assert stale.returncode == 1
    assert "requirements.md:6 is stale" in stale.stderr
    assert read_line(tree, "R1").endswith("**open**")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("R5 = ", "R6000 = ", "R5, R6000"),
        ('text = "The API key goes', f'text = "{"far too long " * 12}The API key goes', "R1 has"),
    ],
)
def test_the_hand_written_texts_are_complete_and_short(tree: Path, old: str, new: str, complaint: str) -> None:
    source = tree / "docs" / "requirements.toml"
    source.write_text(source.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")

    built = build(tree)

    assert built.returncode == 1
    assert complaint in built.stderr


def test_what_is_put_off_stands_on_the_page_with_its_reason(tree: Path) -> None:
    source = tree / "docs" / "requirements.toml"
    source.write_text(source.read_text(encoding="utf-8") + '[later.F1]\ntext = "A thing"\nwhy = "others come first"\n')
    assert build(tree).returncode == 0
    assert read_line(tree, "F1") == "- **F1** A thing. *Later: others come first.*"

    source.write_text(source.read_text(encoding="utf-8").replace('why = "others come first"', 'why = ""'))
    refused = build(tree)
    assert refused.returncode == 1
    assert "F1 is put off without a text or a reason" in refused.stderr
