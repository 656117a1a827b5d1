"""What lies ready to use in `configs/` is what its tools accept, and calls what exists."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import typer.main
import yaml
from crontab import CronSlices, CronTab
from dockerfile_parse import DockerfileParser

from exporter import cli
from exporter.credentials import Credentials
from exporter.loader import open_manifest
from exporter.model import Order
from exporter.queries import windows_of
from exporter.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
DEPLOY = CONFIGS / "deploy"
JOBS = ("sandbox", "ci")
ANSWERS = range(9)  # exit codes with which a run says how it went: docs/exit-codes.md
ALL = sorted(path for path in CONFIGS.rglob("*") if path.is_file() and path.suffix != ".pyc")


@pytest.mark.parametrize("name", JOBS)
def test_jobs_are_manifests(name: str) -> None:
    """Each job is a whole one: a manifest that names conversations and settings that are right."""
    with open_manifest(str(CONFIGS / f"{name}.yaml")) as manifest:
        settings = load_settings(manifest_config=manifest.config, environ={})
        assert list(manifest.conversations())
    assert settings.output.url != load_settings(environ={}).output.url


def test_the_nightly_job_looks_for_conversations() -> None:
    """It names none, asks the list about whole days, and its settings are right."""
    with open_manifest(str(CONFIGS / "nightly.yaml")) as manifest:
        settings = load_settings(manifest_config=manifest.config, environ={})
        assert not list(manifest.conversations())
        windows = windows_of(manifest.queries, settings, now=datetime(2026, 5, 21, 9, tzinfo=UTC))
    assert {window.end - window.start for window in windows} == {timedelta(days=3)}
    assert settings.export.retention is not None


def test_settings_of_a_backfill_are_settings() -> None:
    """The file is a config, and fetches what the vendor deletes first."""
    settings = load_settings(config_file=CONFIGS / "backfill.yaml", environ={})
    assert settings.export.order is Order.OLDEST_FIRST
    assert settings.export.retention is not None


# Calls of the program.


GROUP: Any = typer.main.get_command(cli.app)
COMMANDS: dict[str, Any] = GROUP.commands


def calls(text: str) -> Iterator[list[str]]:
    """The arguments of each call of `exporter` in a file, whatever its language."""
    joined = re.sub(r"\s*\\?\n(?:# ?)? +(?=--)|\"\n\s+\"", " ", text)
    for found in re.findall(rf"exporter ((?:{'|'.join(COMMANDS)})\b[^\n|&\"'`#;]*)", joined):
        yield shlex.split(found)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_calls_have_flags_that_exist(path: Path) -> None:
    """Every call in the files, comments included, names flags of that command."""
    for command, *arguments in calls(path.read_text(encoding="utf-8")):
        known = {
            name for each in COMMANDS[command].params for name in [*each.opts, *each.secondary_opts]
        }
        flags = {word for word in arguments if re.match(r"--?[a-z]", word)}
        assert flags <= known, (command, flags - known)


@pytest.mark.parametrize(
    "name",
    [
        "exporter.service",
        "exporter.cron",
        "kubernetes.yaml",
        "github-actions.yaml",
        "airflow_dag.py",
    ],
)
def test_each_way_to_deploy_runs_the_export(name: str) -> None:
    """Each of them calls `exporter run` with a job, an archive, and logs for machines."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    if name == "kubernetes.yaml":
        arguments = container()["args"]
    else:
        arguments = next(words for words in calls(text) if words[0] == "run" and "/srv" in text)
        if name == "github-actions.yaml":
            arguments = [w for words in calls(text) if "--log-format" in words for w in words]
    assert arguments[:1] == ["run"]
    assert arguments[1].endswith(".yaml")
    assert {"--output", "--log-format", "json", "--no-progress"} <= set(arguments)


def credentials_in(text: str) -> list[str]:
    return re.findall(r"\[\{\"api_key_file\".*?\]", text)


@pytest.mark.parametrize(
    "name", ["exporter.service", "exporter.cron", "kubernetes.yaml", "airflow_dag.py"]
)
def test_the_key_comes_from_a_file(name: str, tmp_path: Path) -> None:
    """The setting names the key's file as the program reads it, and the key is not in it."""
    (value,) = credentials_in((DEPLOY / name).read_text(encoding="utf-8").replace("%d", "/run/c"))
    settings = load_settings(environ={"EXPORTER_CREDENTIALS": value})
    (credential,) = settings.credentials
    assert credential.api_key_file is not None
    key = tmp_path / "key"
    key.write_text("made-up-key\n")
    moved = load_settings(
        environ={"EXPORTER_CREDENTIALS": json.dumps([{"api_key_file": str(key)}])}
    )
    (found,) = Credentials(moved.credentials, {}).require([("acme", "support")])
    assert found.key == "made-up-key"


# Kubernetes.


def kubernetes() -> dict[str, Any]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    return {document["kind"]: document for document in documents}


def container() -> dict[str, Any]:
    pod = kubernetes()["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (only,) = pod["containers"]
    return {**only, "volumes": pod["volumes"]}


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_kubernetes_accepts_its_file(version: str) -> None:
    """Every object of the file is valid for that version, without fields that it would ignore."""
    for document in kubernetes().values():
        kubernetes_validate.validate(document, version, strict=True)


def test_kubernetes_mounts_what_the_run_reads() -> None:
    """Job, archive and key lie below mounts, and each mount has its volume."""
    only = container()
    mounts = {each["name"]: each["mountPath"] for each in only["volumeMounts"]}
    assert {each["name"] for each in only["volumes"]} == set(mounts)
    (value,) = (each["value"] for each in only["env"])
    assert json.loads(value)[0]["api_key_file"] == f"{mounts['key']}/key"
    assert Path(only["args"][1]).parent == Path(mounts["job"])
    assert only["args"][only["args"].index("--output") + 1].startswith(f"{mounts['archive']}/")


def test_kubernetes_starts_again_only_what_was_killed() -> None:
    """A run that says how it went is believed; the codes of killed ones are left to be retried."""
    spec = kubernetes()["CronJob"]["spec"]["jobTemplate"]["spec"]
    (rule,) = (each for each in spec["podFailurePolicy"]["rules"] if "onExitCodes" in each)
    assert rule["action"] == "FailJob"
    assert set(rule["onExitCodes"]["values"]) == set(ANSWERS) - {0, 6}  # 6 is verify's


def test_the_image_is_made_of_what_is_there() -> None:
    """The file is parsed, copies what the repository has, and the program is not run as root."""
    parsed = DockerfileParser(str(DEPLOY / "Dockerfile"), cache_content=True)
    steps = [(each["instruction"], each["value"]) for each in parsed.structure]
    assert (ROOT / "requirements.lock").exists()
    assert "--require-hashes -r requirements.lock" in (parsed.content or "")
    assert dict(steps)["USER"].split(":")[0].isdecimal()
    assert json.loads(dict(steps)["ENTRYPOINT"])[0].endswith("/bin/exporter")
    pod = kubernetes()["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert dict(steps)["USER"] == "{runAsUser}:{runAsGroup}".format(**pod["securityContext"])


# GitHub Actions.


def test_github_accepts_the_workflow() -> None:
    """The workflow follows GitHub's own schema."""
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"),
            str(DEPLOY / "github-actions.yaml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_keeps_its_secret() -> None:
    """Only the nightly job has the key, and a pull request never runs that."""
    jobs = yaml.safe_load((DEPLOY / "github-actions.yaml").read_text(encoding="utf-8"))["jobs"]
    with_secret = [name for name, job in jobs.items() if "secrets." in json.dumps(job)]
    assert with_secret == ["export"]
    assert jobs["export"]["if"] == "github.event_name != 'pull_request'"


# cron and Airflow.


def test_cron_reads_its_line() -> None:
    """The file of /etc/cron.d has one job, of a user of its own, at a time that cron knows."""
    (job,) = CronTab(tabfile=str(DEPLOY / "exporter.cron"), user=False)
    assert job.is_valid()
    assert job.user == "exporter"
    assert "%" not in (job.command or "%")  # cron would take it for a line end


def test_schedules_are_cron_times() -> None:
    """Kubernetes, GitHub and Airflow start it when cron does."""
    pattern = r"(?:schedule: |schedule=|cron: )\"([^\"]+)\""
    for name in ("kubernetes.yaml", "github-actions.yaml", "airflow_dag.py"):
        (schedule,) = re.findall(pattern, (DEPLOY / name).read_text(encoding="utf-8"))
        assert CronSlices.is_valid(schedule), name


def test_the_dag_has_one_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """The DAG is Python that runs; it makes one task, which runs one export at a time.

    Airflow itself is far too large to be installed for that: stand-ins take what it is told. Ruff's
    rules for Airflow look at the file, too.
    """
    told: dict[str, dict[str, Any]] = {}

    class Dag:
        def __init__(self, **arguments: Any) -> None:
            told["dag"] = arguments

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def task(**arguments: Any) -> None:
        assert "task" not in told
        told["task"] = arguments

    modules: dict[str, dict[str, Any]] = {
        "pendulum": {"datetime": lambda *_, tz: SimpleNamespace(tz=tz)},
        "airflow": {},
        "airflow.sdk": {"DAG": Dag},
        "airflow.providers": {},
        "airflow.providers.standard": {},
        "airflow.providers.standard.operators": {},
        "airflow.providers.standard.operators.bash": {"BashOperator": task},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    runpy.run_path(str(DEPLOY / "airflow_dag.py"))
    assert told["dag"]["max_active_runs"] == 1
    assert told["dag"]["catchup"] is False
    assert told["task"]["skip_on_exit_code"] == [5]
    assert shlex.split(told["task"]["bash_command"])[:3] == ["exec", "exporter", "run"]


# systemd.


SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(
    SYSTEMD_ANALYZE is None,
    reason="systemd-analyze is not installed: the units are checked where systemd is",
)
UNITS = Path("/lib/systemd/system")


def systemd_analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SYSTEMD_ANALYZE or "", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_COLOR": "0"},
    )


@needs_systemd
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about them on a machine with the program."""
    program = tmp_path / "usr/local/bin/exporter"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    targets = tmp_path / "usr/lib/systemd/system"
    targets.mkdir(parents=True)
    for target in UNITS.glob("*.target"):
        shutil.copy(target, targets, follow_symlinks=False)
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for name in ("exporter.service", "exporter.timer"):
        shutil.copy(DEPLOY / name, units)
    done = systemd_analyze(
        "verify", "--man=no", f"--root={tmp_path}", "exporter.service", "exporter.timer"
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_systemd_calls_the_service_safe() -> None:
    """The exposure that `systemd-analyze security` finds is at most 2 of 10."""
    done = systemd_analyze(
        "security", "--offline=true", "--threshold=20", DEPLOY / "exporter.service"
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_systemd
def test_systemd_knows_the_time() -> None:
    """The timer's calendar expression is one."""
    (time,) = re.findall(
        r"^OnCalendar=(.+)$", (DEPLOY / "exporter.timer").read_text(encoding="utf-8"), re.MULTILINE
    )
    done = systemd_analyze("calendar", time)
    assert done.returncode == 0, done.stderr


def test_the_service_hands_the_key_over() -> None:
    """The credential that is loaded is the one that the setting names."""
    text = (DEPLOY / "exporter.service").read_text(encoding="utf-8")
    (loaded,) = re.findall(r"^LoadCredential=([^:]+):", text, re.MULTILINE)
    (value,) = credentials_in(text)
    assert json.loads(value) == [{"api_key_file": f"%d/{loaded}"}]
