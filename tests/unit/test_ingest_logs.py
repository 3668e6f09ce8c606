"""Log lines: one JSON object each, whatever is logged."""

from __future__ import annotations

import json
import logging
import sys

from ingest.logs import JsonFormatter


def formatted(message: str, *arguments: object, **extra: object) -> dict[str, object]:
    record = logging.LogRecord("a.b", logging.INFO, __file__, 1, message, arguments, None)
    record.__dict__.update(extra)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    value: dict[str, object] = json.loads(line)
    return value


def test_a_line_says_when_who_and_what() -> None:
    line = formatted("found %d\nlines", 3)

    assert (line["level"], line["logger"], line["message"]) == ("info", "a.b", "found 3\nlines")
    assert str(line["time"]).endswith("+00:00")


def test_fields_stand_beside_the_message() -> None:
    line = formatted("request", fields={"status": 200, "odd": object})

    assert line["status"] == 200
    assert "object" in str(line["odd"])


def test_an_exception_is_part_of_its_line() -> None:
    try:
        raise ValueError("what happened")
    except ValueError:
        line = formatted("failed", exc_info=sys.exc_info())

    assert "ValueError: what happened" in str(line["error"])
