"""Who may ask: keys, names, origins; and what every answer carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.binding import InvalidSettings
from ingest.settings import load_settings
from tests.support.http_server import BATCH, batch_body, serving

KEY = "a-long-random-key"
WRONG: list[dict[str, str]] = [
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": KEY},
    {"Authorization": f"Basic {KEY}"},
    {"Authorization": "Bearer "},
]


async def test_a_server_with_a_key_answers_only_who_knows_it(tmp_path: Path) -> None:
    async with serving(tmp_path, api_key=KEY) as server:
        for headers in WRONG:
            answer = await server.ask("GET", "/api/v1/writers/w1", headers=headers)
            assert (answer.status, answer.code) == (401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            refused = await server.ask(
                "POST", "/api/v1/append", data=batch_body(), headers=BATCH | headers
            )
            assert refused.status == 401

        right = {"Authorization": f"Bearer {KEY}"}
        taken = await server.ask("POST", "/api/v1/append", data=batch_body(), headers=BATCH | right)
        assert taken.status == 200
        assert (await server.ask("GET", "/api/v1/writers/w1", headers=right)).status == 200
        assert (await server.ask("GET", "/health")).status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_listening_beyond_loopback_needs_a_key_or_consent(host: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="--api-key"):
        load_settings(host=host, home=tmp_path)

    assert load_settings(host=host, home=tmp_path, api_key=KEY).host == host
    assert load_settings(host=host, home=tmp_path, insecure=True).host == host


def test_a_key_does_not_show_in_the_settings(tmp_path: Path) -> None:
    assert KEY not in repr(load_settings(home=tmp_path, api_key=KEY))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:5000", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:5000", 200),
        ("tracker.lan:5000", 200),
        ("evil.example", 403),
        ("evil.example:5000", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("10.0.0.1", 403),
        ("", 403),
    ],
)
async def test_only_the_servers_own_names_are_answered(
    host: str, status: int, tmp_path: Path
) -> None:
    async with serving(tmp_path, allowed_hosts="tracker.lan, other") as server:
        answer = await server.ask("GET", "/version", headers={"Host": host})

    assert answer.status == status
    if status == 403:
        assert answer.code == "forbidden_host"


async def test_a_page_of_another_site_cannot_change_anything(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
            answer = await server.ask(
                "POST", "/api/v1/append", data=batch_body(), headers=BATCH | {"Origin": origin}
            )
            assert (answer.status, answer.code) == (403, "forbidden_origin")

        own = await server.ask(
            "POST", "/api/v1/append", data=batch_body(), headers=BATCH | {"Origin": server.url}
        )
        assert own.status == 200


async def test_every_answer_has_a_request_id_and_security_headers(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for path in ("/health", "/api/v1/nothing", "/api/v1/events"):
            answer = await server.ask("GET", path)
            assert answer.headers["X-Request-Id"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"

        given = await server.ask("GET", "/health", headers={"X-Request-Id": "my-id.1"})
        forged = await server.ask("GET", "/health", headers={"X-Request-Id": "a b"})

    assert given.headers["X-Request-Id"] == "my-id.1"
    assert forged.headers["X-Request-Id"] != "a b"
