"""Bad input: exit 2, a message that a newcomer can act on, no traceback, and no file written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Command

pytestmark = pytest.mark.in_process

HEAD = "version: 1\ndefaults: {account_id: a, project_id: p}\n"
ALIAS_BOMB = (
    "version: 1\ndefaults: {account_id: a, project_id: p}\nconversations:\n"
    "- &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"- &{b} [{', '.join([f'*{a}'] * 9)}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
)

BAD_MANIFESTS: dict[str, tuple[str | bytes, list[str]]] = {
    "unknown key": (
        HEAD + "conversations:\n- {id: CA1, direction: [user]}\n",
        ["job.yaml:4:13", "direction", "directions"],
    ),
    "wrong type": (HEAD + "conversations: CA1\n", ["job.yaml:3:16", "list"]),
    "missing account": (
        "version: 1\nconversations:\n- {id: CA1, project_id: p}\n",
        ["job.yaml:3:3", "account_id"],
    ),
    "naive time": (
        HEAD + "conversations:\n- {id: CA1, started_at: 2026-05-21T22:14:03}\n",
        ["job.yaml:4:25", "2026-05-21T22:14:03", "Z"],
    ),
    "hostile identifier": (
        HEAD + "conversations:\n- {id: ../../etc/passwd}\n",
        ["job.yaml:4:8", "../../etc/passwd"],
    ),
    "deep nesting of entries": (HEAD + "conversations: " + "[" * 5000, ["job.yaml:3:17", "list"]),
    "deep nesting of the config": (
        "version: 1\nconfig: " + "[" * 5000,
        ["job.yaml:2:42", "nesting"],
    ),
    "alias bomb": (ALIAS_BOMB, ["job.yaml:4"]),
    "python tag": (
        HEAD + "conversations:\n- !!python/object/apply:os.system [id]\n",
        ["job.yaml:4:3", "python"],
    ),
    "binary": (b"\x00\x01\xff\xfe\x80" * 50, ["job.yaml:1"]),
    "empty": ("", ["job.yaml", "empty"]),
    "wrong version": ("version: 7\nconversations: []\n", ["job.yaml:1:10", "7", "1"]),
    "defaults after conversations": (
        (
            "version: 1\nconversations:\n- {id: CA1, account_id: a, project_id: p}\n"
            "defaults: {account_id: a}\n"
        ),
        ["job.yaml:4:1", "defaults", "before"],
    ),
    "error in the last line": (
        HEAD + "conversations:\n" + "".join(f"- CA{n}\n" for n in range(3000)) + "- ''\n",
        ["job.yaml:3004:3", "id"],
    ),
    "not YAML": (HEAD + "conversations:\n- {id: CA1\n- CA2\n", ["job.yaml:"]),
}


def assert_refused(exporter: Command, text: str, stderr_words: list[str]) -> None:
    for word in stderr_words:
        assert word in text, text
    assert "Traceback" not in text
    assert not exporter.archive.exists()


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_bad_manifest_is_refused_before_anything_is_written(exporter: Command, name: str) -> None:
    """The message names file, line and column, what is wrong and what was expected; exit 2."""
    manifest, words = BAD_MANIFESTS[name]
    exporter.write("job.yaml", manifest)

    done = exporter("run", "job.yaml", "--base-url", "http://127.0.0.1:9")

    assert done.exit_code == 2, done.stderr
    assert done.stdout == ""
    assert_refused(exporter, done.stderr, words)


BAD_CALLS = {
    "no such manifest": (["run", "nowhere.yaml"], ["nowhere.yaml", "No such file"]),
    "unknown ending": (["run", "job.txt"], [".txt", "--manifest-format"]),
    "unknown flag": (["run", "good.yaml", "--fast"], ["--fast"]),
    "bad region": (["run", "good.yaml", "--region", "mars"], ["--region", "mars", "us-1"]),
    "bad concurrency": (["run", "good.yaml", "-j", "0"], ["--concurrency", "0"]),
    "no number": (
        ["run", "good.yaml", "-j", "many"],
        ["--concurrency", "'many'", "a whole number"],
    ),
    "no rate": (["run", "good.yaml", "--rate", "-1"], ["--rate", "'-1'", "greater than 0\n"]),
    "no number of files": (
        ["verify", "archive", "-j", "many"],
        ["-j", "found 'many', expected a whole number"],
    ),
    "no seconds": (["sandbox", "--latency", "a"], ["--latency", "found 'a', expected a number"]),
    "bad time zone": (["run", "good.yaml", "--timezone", "Mars/Crater"], ["--timezone", "IANA"]),
    "bad direction": (
        ["run", "good.yaml", "--directions", "left"],
        ["--directions", "left", "user"],
    ),
    "insecure address": (["run", "good.yaml", "--base-url", "http://example.com"], ["https"]),
    "no such config": (["run", "good.yaml", "-c", "none.yaml"], ["none.yaml", "--config"]),
    "misspelt setting": (["run", "good.yaml", "-c", "bad.yaml"], ["bad.yaml:2:3", "concurrency"]),
    "no key": (["run", "good.yaml"], ["POLYAI_API_KEY", "a/p"]),
    "results into a folder": (["run", "good.yaml", "--results", "."], ["--results", "folder"]),
    "no folder for the demo": (["demo", "-o", "good.yaml/demo"], ["good.yaml", "--folder"]),
    "a file for the demo": (["demo", "-o", "good.yaml"], ["good.yaml", "--folder"]),
    "no such port": (["sandbox", "--port", "99999"], ["--port", "99999", "65535"]),
    "unknown schema": (["schema", "resluts"], ["resluts", "results"]),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_call_is_refused_with_advice(exporter: Command, name: str) -> None:
    """Wrong flags, settings and files give exit 2, name what is wrong, and touch nothing."""
    arguments, words = BAD_CALLS[name]
    exporter.write("good.yaml", HEAD + "conversations: [CA1]\n")
    exporter.write("job.txt", HEAD + "conversations: [CA1]\n")
    exporter.write("bad.yaml", "limits:\n  concurency: 3\n")
    del exporter.environment["POLYAI_API_KEY"]

    done = exporter(*arguments)

    assert done.exit_code == 2, done.stderr
    assert done.stdout == ""
    assert_refused(exporter, done.stderr, words)


def test_misspelt_environment_variable_is_named(exporter: Command) -> None:
    """A typo in a setting's variable is an error that offers the nearest setting."""
    exporter.write("good.yaml", HEAD + "conversations: [CA1]\n")
    exporter.environment["EXPORTER_LIMITS__CONCURENCY"] = "4"

    done = exporter("run", "good.yaml")

    assert done.exit_code == 2
    assert_refused(exporter, done.stderr, ["EXPORTER_LIMITS__CONCURENCY", "concurrency"])


def test_single_underscores_are_pointed_out(exporter: Command) -> None:
    """A variable that can only be meant as a setting is not ignored silently."""
    exporter.write("good.yaml", HEAD + "conversations: [CA1]\n")
    exporter.environment["EXPORTER_LIMITS_CONCURRENCY"] = "4"

    done = exporter("run", "good.yaml")

    assert done.exit_code == 2
    assert_refused(exporter, done.stderr, ["EXPORTER_LIMITS__CONCURRENCY"])


def test_a_key_in_quotes_is_pointed_out(exporter: Command) -> None:
    """A key that still has the quotes of its file around it is refused, and not repeated."""
    exporter.write("good.yaml", HEAD + "conversations: [CA1]\n")
    exporter.environment["POLYAI_API_KEY"] = '"abc-def"'

    done = exporter("run", "good.yaml")

    assert done.exit_code == 2
    assert_refused(exporter, done.stderr, ["POLYAI_API_KEY", "quotes"])
    assert "abc-def" not in done.stderr


def test_every_mistake_has_its_place_and_a_shared_hint_is_told_once(exporter: Command) -> None:
    """A newcomer mends them all before the next try; still nothing is written, and exit 2."""
    entries = "- {id: CA1, started_at: 2026-05-21}\n" * 2 + "- CA2\n- {idd: CA3}\n" + "- C/A\n" * 9
    exporter.write("job.yaml", HEAD + "conversations:\n" + entries)
    done = exporter("run", "job.yaml", "--base-url", "http://127.0.0.1:9")
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: job.yaml:")]
    assert [line.split(":")[2] for line in errors] == [*"457", *map(str, range(8, 15))]
    assert lines[-1] == "error: and more; these are the first 10"
    assert sum("if that is not known" in line for line in lines) == 1
    assert_refused(exporter, done.stderr, [])
