"""What every command owes its user: help, an environment name per flag, --json."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from tracker.cli.main import tracker

# They print no data: one serves, the other tells a story.
WITHOUT_JSON = {"tracker server", "tracker demo"}


def commands(
    command: click.Command, path: str = "tracker", parent: click.Context | None = None
) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(command, info_name=path, parent=parent)
    if isinstance(command, click.Group):
        yield path, command
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, f"{path} {name}", context)
    else:
        yield path, command


ALL = dict(commands(tracker))
LEAVES = {path: c for path, c in ALL.items() if not isinstance(c, click.Group)}


def options_of(command: click.Command) -> list[click.Option]:
    return [p for p in command.params if isinstance(p, click.Option) and p.name != "version"]


@pytest.mark.parametrize("path", ALL)
def test_every_command_says_what_it_is_for(path: str) -> None:
    words = (ALL[path].help or "").strip()

    assert words, f"{path} has no help"
    assert words.splitlines()[0].rstrip().endswith((".", ":")) or "\n" in words


@pytest.mark.parametrize("path", LEAVES)
def test_every_flag_has_an_environment_name_shown_in_its_help(path: str) -> None:
    for option in options_of(LEAVES[path]):
        assert option.envvar, f"{path} {option.opts[0]} has no environment name"
        assert str(option.envvar).startswith("TRACKER_"), f"{path} {option.opts[0]}"
        assert option.show_envvar, f"{path} {option.opts[0]} does not show it"
        assert option.help, f"{path} {option.opts[0]} has no help"


def test_an_environment_name_means_one_flag_only() -> None:
    flags: dict[str, set[str]] = {}
    for command in LEAVES.values():
        for option in options_of(command):
            flags.setdefault(str(option.envvar), set()).add(max(option.opts, key=len))

    assert {name: found for name, found in flags.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", sorted(set(LEAVES) - WITHOUT_JSON))
def test_every_command_that_prints_data_prints_json_when_asked(path: str) -> None:
    assert "as_json" in {option.name for option in options_of(LEAVES[path])}


@pytest.mark.parametrize("path", ALL)
def test_help_is_printed_for_every_command(path: str) -> None:
    done = CliRunner().invoke(tracker, [*path.split()[1:], "--help"])

    assert done.exit_code == 0
    assert done.stdout.startswith("Usage: ")
