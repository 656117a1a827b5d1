"""What `--help` looks like on a terminal of the usual width."""

from __future__ import annotations

from typer.testing import CliRunner

from exporter import cli


def test_every_command_is_said_in_one_whole_line() -> None:
    """At 80 columns no summary of a command is cut."""
    told = CliRunner().invoke(cli.app, ["--help"], env={"COLUMNS": "80"}, terminal_width=80)
    commands = told.output.partition("Commands:")[2].strip().splitlines()
    assert len(commands) == 10
    assert not [line for line in commands if line.endswith("...")]
