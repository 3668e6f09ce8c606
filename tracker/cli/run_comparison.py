"""Runs side by side, differences marked: `tracker runs compare`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from tracker.cli.formats import json_form, moment, number, printable, short_id, span
from tracker.cli.grid import CELL_CHARACTERS_MAX, Column, heading, print_grid
from tracker.cli.output import result
from tracker.entities import RunRecord

# Tags that say where a run came from differ always and tell little beside its name.
_NOISE_TAG_PREFIXES = ("mlflow.", "tracker.")


@dataclass(frozen=True, slots=True)
class Line:
    """One field of every run, None where a run does not have it."""

    section: str
    key: str
    values: tuple[Any, ...]

    @property
    def is_different(self) -> bool:
        return len({repr(value) for value in self.values}) > 1


def compare(runs: Sequence[RunRecord], *, only_different: bool) -> list[Line]:
    """Attributes, params, metrics (last values) and tags of the runs, line by line."""
    lines = [
        Line("run", name, tuple(map(read, runs)))
        for name, read in (
            ("status", lambda run: run.info.status),
            ("end reason", lambda run: run.info.end_reason),
            ("started", lambda run: moment(run.info.start_time_us)),
            ("took", lambda run: span(run.info.duration_us) or None),
            ("user", lambda run: run.info.user_id),
            ("experiment", lambda run: run.info.experiment_id),
        )
    ]
    lines += _section("params", runs, lambda run: run.data.params)
    lines += _section("metrics", runs, lambda run: run.data.metrics)
    lines += [
        line
        for line in _section("tags", runs, lambda run: run.data.tags)
        if line.is_different or not line.key.startswith(_NOISE_TAG_PREFIXES)
    ]
    lines = [line for line in lines if any(value is not None for value in line.values)]
    return [line for line in lines if line.is_different] if only_different else lines


def print_comparison(runs: Sequence[RunRecord], lines: Sequence[Line]) -> None:
    """One table per section; a line that differs is bold and marked ≠."""
    titles = [_cell(run.info.run_name) for run in runs]
    ids = [short_id(run.info.run_id) for run in runs]
    result(", ".join(f"{title} ({i})" for title, i in zip(titles, ids, strict=True)))
    for section in dict.fromkeys(line.section for line in lines):
        members = [line for line in lines if line.section == section]
        heading(section.capitalize())
        print_grid(
            [
                Column("", ["≠" if line.is_different else " " for line in members]),
                Column("", [_styled(_cell(line.key), line) for line in members]),
                *(
                    Column(title, [_styled(_text(line.values[i]), line) for line in members])
                    for i, title in enumerate(titles)
                ),
            ]
        )


def comparison_json(runs: Sequence[RunRecord], lines: Sequence[Line]) -> Any:
    """The same for programs: values in the order of `runs`, null where one has none."""
    return {
        "runs": [{"run_id": run.info.run_id, "run_name": run.info.run_name} for run in runs],
        "fields": [
            {
                "section": line.section,
                "key": line.key,
                "values": json_form(line.values),
                "is_different": line.is_different,
            }
            for line in lines
        ],
    }


def _section(
    section: str, runs: Sequence[RunRecord], read: Callable[[RunRecord], Mapping[str, Any]]
) -> list[Line]:
    keys = sorted({key for run in runs for key in read(run)})
    return [Line(section, key, tuple(read(run).get(key) for run in runs)) for key in keys]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return number(value) if isinstance(value, float) else _cell(str(value))


def _styled(text: str, line: Line) -> str:
    return click.style(text, fg="yellow", bold=True) if line.is_different else text


def _cell(text: str) -> str:
    return printable(text, characters_max=CELL_CHARACTERS_MAX)
