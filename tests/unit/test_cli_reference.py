from __future__ import annotations

from pathlib import Path

from tracker.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_on_the_command_line_is_what_the_commands_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "run: python -m tracker.cli.reference > docs/cli.md"
    )
