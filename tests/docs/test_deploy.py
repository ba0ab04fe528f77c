"""What is in deploy/ and .github/ is well formed, and says of ecproc what its code says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import pytest
import yaml

from ecproc import __version__
from ecproc.cli.catalogue import COMMANDS
from ecproc.config import Config, Limits, WebConfig, load_config
from ecproc.config.catalogue import OPTIONS, PREFIX
from ecproc.errors import ConfigError, ExitCode
from ecproc.interrupts import START_SECONDS
from ecproc.web.process import ProcessPages

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
WORKFLOWS: Final = ROOT / ".github" / "workflows"
IMAGE: Final = f"ecproc-bridge:{__version__}"
USER: Final = 10001

DRAIN_SECONDS: Final = max(Limits().shutdown_seconds, START_SECONDS)
MARGIN_SECONDS: Final = 5.0
"""What a machine under load may take beyond that."""

LINTERS: Final[Mapping[str, Sequence[str]]] = {
    "Dockerfile": ("hadolint", "deploy/Dockerfile"),
    "compose": ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml"),
    "kubernetes": ("kubernetes-validate", "--strict", "deploy/kubernetes.yaml"),
    "workflows": (
        "check-jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        ".github/workflows/ci.yml",
        ".github/workflows/release.yml",
    ),
    "dependabot": ("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml"),
    "what workflows may do": ("zizmor", "--offline", "--quiet", ".github"),
}
MOST_EXPOSED: Final = 20
"""Tenths of systemd's own measure of what a service could do to its host, out of 100."""

RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""What Kubernetes' restricted level asks of a container, and a file system that is not written to."""

VARIABLES: Final = {
    *(option.variable for option in OPTIONS.values()),
    *(f"{option.variable}_FILE" for option in OPTIONS.values() if option.is_secret),
    f"{PREFIX}CONFIG",
}
PINNED: Final = re.compile(r"uses: ([\w.-]+/[\w./-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def do_without(what: str) -> NoReturn:
    """Skip where the machine lacks something; a CI run must not."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {what}")


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def read_yaml(path: str) -> Any:
    return yaml.safe_load(read(path))


def read_unit() -> dict[str, list[str]]:
    """The settings of the unit, each with all of its values."""
    settings: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", read("deploy/ecproc.service"), re.MULTILINE):
        settings.setdefault(key, []).append(value)
    return settings


def find_object(kind: str) -> Any:
    """The one of that kind in the Kubernetes manifest."""
    (found,) = (part for part in yaml.safe_load_all(read("deploy/kubernetes.yaml")) if part["kind"] == kind)
    return found


def read_pod() -> Any:
    return find_object("StatefulSet")["spec"]["template"]["spec"]


def read_container() -> Any:
    (container,) = read_pod()["containers"]
    return container


@pytest.mark.parametrize("command", LINTERS.values(), ids=LINTERS)
def test_it_is_well_formed(command: Sequence[str]) -> None:
    linted = run(Path(sys.executable).with_name(command[0]), *command[1:])

    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a command that is there."""
    if not shutil.which("systemd-analyze"):
        do_without("systemd-analyze")
    path = tmp_path / "ecproc.service"
    command = Path(sys.executable).with_name("ecproc")
    path.write_text(read("deploy/ecproc.service").replace("/opt/ecproc/bin/ecproc", str(command)), encoding="utf-8")
    return path


def test_systemd_understands_the_unit(unit: Path) -> None:
    verified = run("systemd-analyze", "verify", "--man=no", unit)
    assert (verified.returncode, verified.stderr) == (0, "")

    unit.write_text(unit.read_text(encoding="utf-8").replace("WatchdogSec", "WatchdogSecs"), encoding="utf-8")
    assert "WatchdogSecs" in run("systemd-analyze", "verify", "--man=no", unit).stderr


def test_the_unit_can_do_little_to_its_host(unit: Path) -> None:
    measure = ("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}")
    measured = run(*measure, unit)
    assert measured.returncode == 0, measured.stdout

    unit.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
    assert run(*measure, unit).returncode != 0


def list_waits() -> Iterator[tuple[str, float]]:
    """How long each of them waits for a stop, in seconds."""
    yield "systemd", float(read_unit()["TimeoutStopSec"][0])
    yield (
        "compose",
        float(read_yaml("deploy/compose.yaml")["services"]["ecproc"]["stop_grace_period"].removesuffix("s")),
    )
    yield "kubernetes", float(read_pod()["terminationGracePeriodSeconds"])


@pytest.mark.parametrize(("where", "seconds"), [*list_waits()])
def test_a_drain_is_waited_for(where: str, seconds: float) -> None:
    assert seconds >= DRAIN_SECONDS + MARGIN_SECONDS


def test_the_unit_restarts_all_but_what_a_person_must_mend() -> None:
    unit = read_unit()

    assert unit["Restart"] == ["always"]
    assert {ExitCode(int(code)) for code in unit["RestartPreventExitStatus"][0].split()} == {
        ExitCode.USAGE,
        ExitCode.LOG_DAMAGED,
        ExitCode.CONFIG,
    }
    assert unit["Type"] == ["notify"]
    assert float(unit["WatchdogSec"][0]) > 0


def test_the_page_names_commands_and_files_that_there_are() -> None:
    page = read("deploy/README.md")
    commands = re.findall(r"(?:bin/|`|-- |ecproc )ecproc ([a-z]+ [a-z]+)", page)
    files = re.findall(r"(?<![\w/])(?:deploy/(?!secrets)[\w.]+|requirements[\w.-]+)", page)

    assert {command.name for command in COMMANDS} >= {*commands} == {"config check", "config init", "outbox list"}
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert {*re.findall(r"\]\((\S+)\)", page)} == {"ecproc.service", "compose.yaml", "kubernetes.yaml"}


# --- what they set ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(DEPLOY.iterdir()), ids=lambda path: path.name)
def test_every_variable_is_one_that_ecproc_knows(path: Path) -> None:
    if path.is_file():
        assert {*re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]", path.read_text(encoding="utf-8"))} - {
            "ECPROC_PORT"
        } <= VARIABLES


def list_environments() -> Iterator[tuple[str, dict[str, str]]]:
    """What ecproc is started with by each of them; secrets' files stand in /secrets."""
    bridge = {"ECPROC_BRIDGE__URL": "https://bridge.example/client/prod", "ECPROC_BRIDGE__CLIENT_NAME": "Client"}
    settings = dict(entry.split("=", 1) for entry in read_unit()["Environment"])
    (credential,) = read_unit()["LoadCredential"]
    credentials = f"%d/{credential.partition(':')[0]}"
    assert settings.pop("ECPROC_CONFIG") == "%E/ecproc/ecproc.toml"
    assert settings["ECPROC_BRIDGE__API_KEY_FILE"] == credentials
    assert settings["ECPROC_DATA__DIR"] == f"%S/private/{read_unit()['StateDirectory'][0]}"
    yield "systemd", {**settings, **bridge, "ECPROC_BRIDGE__API_KEY_FILE": "/secrets/api-key"}

    service = read_yaml("deploy/compose.yaml")["services"]["ecproc"]
    yield "compose", {**moved(service["environment"], "/run/secrets", service["secrets"]), **bridge}

    container = read_container()
    held = [name for name in ("api-key", "read-token") if f"--from-file={name}" in read("deploy/kubernetes.yaml")]
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "secrets")
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    yield "kubernetes", {**find_object("ConfigMap")["data"], **moved(variables, mount["mountPath"], held)}


def moved(variables: Mapping[str, str], folder: str, names: Sequence[str]) -> dict[str, str]:
    """The variables with the secrets that are there by these names in /secrets."""
    there = {f"{folder}/{name}": f"/secrets/{name}" for name in names}
    return {key: there[value] if key.endswith("_FILE") else value for key, value in variables.items()}


ENVIRONMENTS: Final = dict(list_environments())


def load(variables: Mapping[str, str], folder: Path) -> Config:
    """What they come to, with secrets that are there."""
    for name in ("api-key", "read-token"):
        (folder / name).write_text("0123456789abcdef0123456789abcdef\n", encoding="utf-8")
        (folder / name).chmod(0o600)
    found = {key: value.replace("/secrets", str(folder)) for key, value in variables.items()}
    return load_config(None, found, default_path=folder / "none")


@pytest.mark.parametrize("variables", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_it_starts_ecproc_with_what_it_needs_and_with_secrets_from_files(
    variables: Mapping[str, str], tmp_path: Path
) -> None:
    config = load(variables, tmp_path)

    assert config.warnings == ()
    assert {*config.secret_files} == {"bridge.api_key", *(["web.read_token"] if config.web.is_exposed else [])}


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_where_others_reach_the_pages_a_token_keeps_them_out(where: str, tmp_path: Path) -> None:
    variables = ENVIRONMENTS[where]
    config = load(variables, tmp_path)
    assert config.web.host == "0.0.0.0"
    assert config.web.port == WebConfig().port

    with pytest.raises(ConfigError, match=r"web\.read_token"):
        load({key: value for key, value in variables.items() if "READ_TOKEN" not in key}, tmp_path)


# --- the image --------------------------------------------------------------------------------------------------------


def read_instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, lines put together."""
    text = re.sub(r"^\s*#.*\n", "", read("deploy/Dockerfile"), flags=re.MULTILINE).replace("\\\n", " ")
    return [cast("tuple[str, str]", (*line.split(None, 1),)) for line in text.splitlines() if line.strip()]


def test_the_image_is_made_of_what_is_held_by_hash() -> None:
    bases = [rest.removesuffix(" AS build") for name, rest in read_instructions() if name == "FROM"]
    assert len({*bases}) == 1 < len(bases)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases[0])

    installed = [command for name, rest in read_instructions() if name == "RUN" for command in rest.split("&&")]
    fetching = [command for command in installed if re.search(r"\bpip\b.*\b(install|wheel)\b", command)]
    assert len(fetching) == 4
    for command in fetching:
        assert ("--require-hashes" in command) != ("--no-deps" in command), command
        assert ("--no-deps" in command) == ("--no-build-isolation" in command or "--no-index" in command), command


def test_the_build_is_given_what_it_copies_and_nothing_else() -> None:
    copied = {
        part
        for name, rest in read_instructions()
        if name == "COPY" and "--from=" not in rest
        for part in rest.split()[:-1]
    }
    assert {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")} == copied
    assert "*" in read(".dockerignore").splitlines()
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_runs_as_a_user_without_rights_and_ends_by_sigterm() -> None:
    instructions = dict(read_instructions())

    assert instructions["USER"] == f"{USER}:{USER}"
    assert instructions["STOPSIGNAL"] == "SIGTERM"
    assert (instructions["ENTRYPOINT"], instructions["CMD"]) == ('["ecproc"]', '["run"]')
    assert instructions["VOLUME"] in instructions["ENV"]
    assert instructions["EXPOSE"] == str(WebConfig().port)


# --- containers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["compose.yaml", "kubernetes.yaml", "Dockerfile", "README.md"])
def test_the_image_has_the_number_of_this_version(path: str) -> None:
    named = {*re.findall(r"ecproc-bridge:[\w.]+", read(f"deploy/{path}"))}

    assert named == {IMAGE}


def test_compose_shows_nothing_to_other_machines_and_keeps_secrets_in_files() -> None:
    compose = read_yaml("deploy/compose.yaml")

    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["cap_drop"] == ["ALL"]
        assert {*service["secrets"]} <= {*compose["secrets"]}
        assert not any(re.search(r"(?i)(key|token|password)$", name) for name in service.get("environment", ()))
    folders = {Path(secret["file"]).parent for secret in compose["secrets"].values()}
    assert f"/{DEPLOY.name}/{folders.pop()}/" in read(".gitignore").splitlines()
    assert not folders


def test_what_compose_mounts_is_there() -> None:
    compose = read_yaml("deploy/compose.yaml")
    mounts = [mount for service in compose["services"].values() for mount in service["volumes"]]
    sources = [mount.partition(":")[0] for mount in mounts]
    assert {source for source in sources if not source.startswith(".")} == {*compose["volumes"]}

    missing = [source for source in sources if source.startswith(".") and not (DEPLOY / source).exists()]
    assert missing == []


def test_prometheus_and_grafana_meet_what_they_ask_by_its_name_in_compose() -> None:
    services = read_yaml("deploy/compose.yaml")["services"]
    (job,) = read_yaml("deploy/prometheus.yml")["scrape_configs"]
    (source,) = read_yaml("deploy/datasource.yaml")["datasources"]

    assert job["static_configs"] == [{"targets": [f"ecproc:{WebConfig().port}"]}]
    assert job["authorization"]["credentials_file"] == services["ecproc"]["environment"]["ECPROC_WEB__READ_TOKEN_FILE"]
    assert "read-token" in services["prometheus"]["secrets"]
    assert source["url"] == f"http://prometheus:{services['prometheus']['ports'][0].rpartition(':')[2]}"


def test_what_compose_tells_prometheus_is_what_the_example_does() -> None:
    ours, example = read_yaml("deploy/prometheus.yml"), read_yaml("grafana/prometheus/prometheus.yml")

    assert [Path(path).name for path in ours["rule_files"]] == example["rule_files"]
    assert ours["global"] == example["global"]
    assert [job["job_name"] for job in ours["scrape_configs"]] == [job["job_name"] for job in example["scrape_configs"]]
    (source,) = read_yaml("deploy/datasource.yaml")["datasources"]
    (other,) = read_yaml("grafana/provisioning/datasources/ecproc.yaml")["datasources"]
    assert (source["uid"], source["jsonData"]) == (other["uid"], other["jsonData"])
    (boards,) = read_yaml("grafana/provisioning/dashboards/ecproc.yaml")["providers"]
    mounts = read_yaml("deploy/compose.yaml")["services"]["grafana"]["volumes"]
    assert f"../grafana/dashboards:{boards['options']['path']}:ro" in mounts


def test_kubernetes_runs_one_writer_that_keeps_to_the_restricted_level() -> None:
    stateful, pod, container = find_object("StatefulSet")["spec"], read_pod(), read_container()
    (claim,) = stateful["volumeClaimTemplates"]

    assert stateful["replicas"] == 1
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert container["securityContext"] == RESTRICTED
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {pod["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {USER}
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_names_of_services_become_no_unknown_variables() -> None:
    assert read_pod()["enableServiceLinks"] is False
    with pytest.raises(ConfigError, match="unknown variable ECPROC_PORT"):
        load_config(None, {"ECPROC_PORT": "tcp://10.0.0.1:8600"}, require_bridge=False)


def test_kubernetes_asks_pages_that_there_are_where_they_are() -> None:
    container, service = read_container(), find_object("Service")["spec"]
    annotations = find_object("StatefulSet")["spec"]["template"]["metadata"]["annotations"]
    pages = {page.path for page in ProcessPages(cast("Any", None), cast("Any", None)).list_operations()}
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}

    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {*(probe["path"] for probe in probes.values()), annotations["prometheus.io/path"]} <= pages
    assert {probe["port"] for probe in probes.values()} == {service["ports"][0]["targetPort"]} == {"web"}
    assert container["ports"] == [{"name": "web", "containerPort": WebConfig().port}]
    assert annotations["prometheus.io/port"] == str(service["ports"][0]["port"]) == str(WebConfig().port)


def test_the_data_directory_is_in_the_volume_but_not_its_root() -> None:
    container = read_container()
    (mount,) = (mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "data")

    assert Path(ENVIRONMENTS["kubernetes"]["ECPROC_DATA__DIR"]).parent == Path(mount)


# --- workflows --------------------------------------------------------------------------------------------------------


def list_jobs() -> Iterator[tuple[str, Any]]:
    for path in sorted(WORKFLOWS.glob("*.yml")):
        for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items():
            yield f"{path.stem}: {name}", job


JOBS: Final = dict(list_jobs())


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_a_job_runs_make_and_nothing_else(job: Any) -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", read("Makefile"), re.MULTILINE)

    for step in job.get("steps", ()):
        words = step["run"].split() if "run" in step else ["make"]
        assert words[words[0] == "sudo"] == "make"
        assert {*words} - {"sudo", "make"} <= {*phony.split()}


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.yml")), ids=lambda path: path.stem)
def test_actions_are_held_by_hash_and_have_no_rights_but_their_jobs_own(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = [line.strip(" -") for line in text.splitlines() if "uses: " in line and "uses: ./" not in line]

    assert [line for line in used if not PINNED.match(line)] == []
    assert used
    assert yaml.safe_load(text)["permissions"] == {}


def test_only_what_signs_or_publishes_may_write_and_it_runs_none_of_our_code() -> None:
    writing = {name for name, job in JOBS.items() if "write" in job["permissions"].values()}

    assert writing == {"release: attest", "release: publish"}
    for name in writing:
        assert not any("run" in step or "checkout" in step["uses"] for step in JOBS[name]["steps"])


def test_every_python_that_is_promised_is_tried() -> None:
    classifiers = tomllib.loads(read("pyproject.toml"))["project"]["classifiers"]
    promised = [found[1] for line in classifiers if (found := re.search(r"Python :: (3\.\d+)$", line))]

    assert JOBS["ci: test"]["strategy"]["matrix"]["python"] == promised
