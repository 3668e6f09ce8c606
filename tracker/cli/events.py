"""`tracker events`: the event log, line by line, and as it grows."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import click

from tracker.cli.connection import connected
from tracker.cli.formats import clock, json_form, number, printable, short_id
from tracker.cli.lookup import find_run
from tracker.cli.options import connection_options, option
from tracker.cli.output import json_option, note, result
from tracker.events.types import EventType

METRICS_SHOWN_MAX: Final = 4
_COLOURS: Final = {
    EventType.RUN_STARTED: "green",
    EventType.RUN_RESUMED: "green",
    EventType.RUN_ENDED: "magenta",
    EventType.EVENTS_DROPPED: "red",
}


@click.command("events")
@click.argument("run", required=False)
@option("--follow", "-f", env="TRACKER_EVENTS_FOLLOW", is_flag=True,
        help="Wait for new events until interrupted.")  # fmt: skip
@option("--after", env="TRACKER_EVENTS_AFTER", type=click.IntRange(0), default=0,
        show_default=True, metavar="POSITION", help="Begin after this position.")  # fmt: skip
@option("--type", "event_type", env="TRACKER_EVENTS_TYPE", metavar="TYPE",
        help="Only events of this type, such as run.started.")  # fmt: skip
@option("--limit", env="TRACKER_EVENTS_LIMIT", type=click.IntRange(1), metavar="N",
        help="Stop after this many.")  # fmt: skip
@connection_options
@json_option
def command(
    run: str | None,
    follow: bool,
    after: int,
    event_type: str | None,
    limit: int | None,
    uri: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Print the events of the log, or of RUN, in order of position.

    With --json every event is one line of JSON, so that other programs can follow.
    """
    printed = 0
    with connected(uri, api_key) as client, suppress(KeyboardInterrupt):
        run_id = None if run is None else find_run(client, run).info.run_id
        read = client.follow_events if follow else client.events
        for event in read(after=after, run_id=run_id, type=event_type):
            result(json.dumps(event, ensure_ascii=False) if as_json else _line(event))
            printed += 1
            if printed == limit:
                break
    if not printed and not follow:
        note("no events" if after == 0 else f"no events after {after}")


def _line(event: dict[str, Any]) -> str:
    kind = str(event["type"])
    position = click.style(f"{event['position']:>8}", fg="bright_black")
    colour = _COLOURS.get(EventType(kind)) if kind in set(EventType) else None
    run = short_id(event["run_id"]) or "workspace"
    say = _SAY.get(kind, _say_data)
    words = printable(say(event["data"]), characters_max=200)
    return (
        f"{position}  {clock(event['time_us'])}  {run:<9}  "
        f"{click.style(f'{kind:<20}', fg=colour)}  {words}"
    ).rstrip()


def _say_metrics(data: dict[str, Any]) -> str:
    metrics = list(data["metrics"].items())
    shown = [f"{key}={number(float(value))}" for key, value in metrics[:METRICS_SHOWN_MAX]]
    if len(metrics) > len(shown):
        shown.append(f"… {len(metrics) - len(shown)} more")
    return f"step {data['step']}  {'  '.join(shown)}"


def _say_started(data: dict[str, Any]) -> str:
    experiment = data.get("experiment_name") or data.get("experiment_id") or "Default"
    return f"{data.get('name', '')}  in {experiment}"


def _say_ended(data: dict[str, Any]) -> str:
    reason = ": ".join(str(data[name]) for name in ("reason", "detail") if data.get(name))
    guess = "a guess about a silent writer" if data.get("guessed_writer_id") else ""
    return "  ".join(part for part in (data["status"], reason, guess) if part)


def _say_entries(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda data: "  ".join(f"{key}={value}" for key, value in data[name].items())


def _say_dropped(data: dict[str, Any]) -> str:
    return f"{data['count']} records lost: {data['reason']}"


def _say_data(data: dict[str, Any]) -> str:
    return "  ".join(f"{key}={json_form(value)}" for key, value in data.items())


_SAY: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    EventType.METRICS_LOGGED: _say_metrics,
    EventType.RUN_STARTED: _say_started,
    EventType.RUN_ENDED: _say_ended,
    EventType.PARAMS_LOGGED: _say_entries("params"),
    EventType.TAGS_SET: _say_entries("tags"),
    EventType.EVENTS_DROPPED: _say_dropped,
}
