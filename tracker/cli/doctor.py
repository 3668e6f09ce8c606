"""`tracker doctor`: where data goes, and whether that works."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Final

import click

from tracker.cli.connection import failures_told
from tracker.cli.diagnosis import Finding, State, examine
from tracker.cli.options import connection_options
from tracker.cli.output import json_option, note, result, result_json

_MARKS: Final = {
    State.OK: click.style("✓", fg="green"),
    State.NOTE: click.style("·", fg="yellow"),
    State.WRONG: click.style("✗", fg="red", bold=True),
}


@click.command("doctor")
@connection_options
@json_option
def command(uri: str | None, api_key: str | None, as_json: bool) -> None:
    """Say where data goes and whether that works; exit with 1 if something is wrong.

    Looks at the destination chain, the spool, the disk, the clock and the server.
    """
    findings: list[Finding] = []
    with failures_told():
        for finding in examine(uri, api_key):
            findings.append(finding)
            if not as_json:
                _print(finding)
    wrong = [finding for finding in findings if finding.state is State.WRONG]
    if as_json:
        result_json({"ok": not wrong, "findings": [asdict(finding) for finding in findings]})
    elif wrong:
        note(f"{len(wrong)} of {len(findings)} findings are wrong")
    else:
        note("all is well")
    sys.exit(1 if wrong else 0)


def _print(finding: Finding) -> None:
    result(f"{_MARKS[finding.state]} {click.style(f'{finding.name:<12}', bold=True)}{finding.text}")
    if finding.advice and finding.state is not State.OK:
        result(f"{'':<14}{click.style('→', fg='cyan')} {finding.advice}")
