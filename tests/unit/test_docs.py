"""The pages name everything that exists, and the links between them lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingest.settings import Settings
from tracker.events.types import EventType

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("event_type", EventType)
def test_every_event_type_has_its_row(event_type: EventType) -> None:
    assert event_type.value in page("formats.md")


def test_every_setting_of_the_client_has_its_row() -> None:
    sources = [ROOT / "tracker" / "config.py", ROOT / "tracker" / "shipper" / "config.py"]
    names = {
        name
        for source in sources
        for name in re.findall(r'"(TRACKER_[A-Z_]+[A-Z])"', source.read_text(encoding="utf-8"))
    }

    assert {name for name in names if name not in page("settings.md")} == set()


def test_every_setting_of_the_server_has_its_row() -> None:
    names = {f"TRACKER_{name.upper()}" for name in Settings.model_fields}

    assert {name for name in names if name not in page("settings.md")} == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_tests_that_guard_the_promises_exist() -> None:
    for name in re.findall(r"tests/[a-z_/]+\.py", page("ARCHITECTURE.md")):
        assert (ROOT / name).exists(), name
