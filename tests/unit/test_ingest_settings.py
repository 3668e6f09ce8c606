"""The server's settings: where they come from, what they refuse, what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest.binding import InvalidSettings
from ingest.settings import Settings, load_settings
from ingest.spool_host import loopback_url

NAMES = ("HOME", "HOST", "PORT", "SPOOL_DIR", "BACKEND_STORE_URI", "API_KEY", "WORKSPACE")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(f"TRACKER_{name}", raising=False)


def test_without_flags_everything_is_under_home(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)

    assert settings.store_path == tmp_path / "server" / "tracker.db"
    assert settings.spool_folder == tmp_path / "spool"
    assert (settings.host, settings.port, settings.workspace) == ("127.0.0.1", 5000, "default")


def test_flags_win_over_the_environment_and_it_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    monkeypatch.setenv("TRACKER_PORT", "5001")
    monkeypatch.setenv("TRACKER_BACKEND_STORE_URI", "sqlite:////tmp/x.db")
    monkeypatch.setenv("TRACKER_API_KEY", "")

    settings = load_settings(port=5002, api_key=None)

    assert (settings.home, settings.port) == (tmp_path, 5002)
    assert settings.store_path == Path("/tmp/x.db")
    assert settings.api_key is None


def test_settings_do_not_change(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)

    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # what is to be refused


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////a/b.db", Path("/a/b.db")),
        ("sqlite:///b.db", Path("b.db").absolute()),
        ("memory://", None),
    ],
)
def test_a_store_is_named_by_its_uri(uri: str, path: Path | None) -> None:
    assert load_settings(backend_store_uri=uri).store_path == path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"port": 70_000}, "port"),
        ({"workspace": "a/b"}, "workspace"),
        ({"host": "0.0.0.0"}, "--insecure"),
        ({"idle_exit_s": 0}, "idle_exit_s"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        load_settings(**given)


@pytest.mark.parametrize("uri", ["mysql://x", "sqlite:///", "sqlite://x", "/tmp/x.db"])
def test_a_store_of_another_kind_is_refused(uri: str) -> None:
    with pytest.raises(InvalidSettings, match="sqlite:///PATH"):
        _ = load_settings(backend_store_uri=uri).store_path


@pytest.mark.parametrize(
    ("host", "is_loopback", "url"),
    [
        ("127.0.0.1", True, "http://127.0.0.1:7"),
        ("127.8.8.8", True, "http://127.8.8.8:7"),
        ("localhost", True, "http://localhost:7"),
        ("::1", True, "http://[::1]:7"),
        ("0.0.0.0", False, "http://127.0.0.1:7"),
        ("::", False, "http://[::1]:7"),
        ("192.0.2.1", False, "http://192.0.2.1:7"),
    ],
)
def test_a_server_knows_how_to_reach_itself(host: str, is_loopback: bool, url: str) -> None:
    settings = load_settings(host=host, insecure=True)

    assert settings.is_loopback is is_loopback
    assert loopback_url(settings, 7) == url


def test_every_setting_of_the_command_line_is_one() -> None:
    from tracker.cli.server import command

    flags = {parameter.name for parameter in command.params} - {"log_level"}
    assert flags <= Settings.model_fields.keys()
