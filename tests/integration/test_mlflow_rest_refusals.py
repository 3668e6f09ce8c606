"""What MLflow's own server refuses is refused here with its status, its code and its reason."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_server import Answer, TestServer, serving
from tests.support.mlflow_programs import NEWEST, PROGRAMS
from tests.support.mlflow_reference import normal as in_any_order
from tests.support.mlflow_reference import running_reference
from tests.support.mlflow_refusals import REQUESTS, STRICTER, filled
from tests.support.processes import environment

API = "/api/2.0/mlflow"
# (what it is called, then a request, then where in its answer it is)
FIRST: list[tuple[str, str, str, dict[str, Any], list[str]]] = [
    ("", "POST", "experiments/create", {"name": "there"}, []),
    ("was", "POST", "experiments/create", {"name": "gone"}, ["experiment_id"]),
    ("", "POST", "experiments/delete", {"experiment_id": "{was}"}, []),
    ("run", "POST", "runs/create", {"experiment_id": "0"}, ["run", "info", "run_id"]),
    ("", "POST", "runs/log-parameter", {"run_id": "{run}", "key": "lr", "value": "1"}, []),
    ("deleted", "POST", "runs/create", {"experiment_id": "0"}, ["run", "info", "run_id"]),
    ("", "POST", "runs/delete", {"run_id": "{deleted}"}, []),
    ("model", "POST", "logged-models", {"experiment_id": "0"}, ["model", "info", "model_id"]),
]  # fmt: skip


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as running:
        yield running


async def ask(server: TestServer, method: str, path: str, said: dict[str, Any]) -> Answer:
    given = {"params": said} if method == "GET" else {"json": said}
    return await server.ask(method, f"{API}/{path}", **given)


@pytest.mark.slow
@pytest.mark.timeout(420)
async def test_bad_requests_are_refused_as_by_mlflows_own_server(
    server: TestServer, tmp_path: Path
) -> None:
    assert NEWEST.exists(), f"{NEWEST} is missing; `make test` installs it"
    home = tmp_path / "mlflow"
    home.mkdir()
    (home / "asked.json").write_text(json.dumps({"first": FIRST, "requests": REQUESTS}))
    command = [
        *(str(NEWEST), "-W", "ignore", str(PROGRAMS / "refusals_reference.py")),
        *(str(home / "asked.json"), str(home)),
    ]
    async with running_reference(command, environment(tmp_path)) as reference:
        names = await first_of(server)
        ours = [
            await ask(server, method, filled(path, names), filled(said, names))
            for method, path, said in REQUESTS
        ]
        output, _ = await reference.communicate()
    theirs = json.loads(output.splitlines()[-1])

    differing = [
        f"{asked}\n  here {own}\n  there {their}"
        for asked, own, their in zip(REQUESTS, map(refusal, ours), theirs, strict=True)
        if (own[0], own[1], normal(own[2], names)) != expected(*their)
    ]
    assert not differing, f"{len(differing)} of {len(REQUESTS)} differ:\n" + "\n".join(differing)
    for method, path, said in STRICTER:
        answer = await ask(server, method, filled(path, names), filled(said, names))
        assert refusal(answer)[:2] == (400, "INVALID_PARAMETER_VALUE"), (path, said, answer.json)


async def first_of(server: TestServer) -> dict[str, str]:
    """What the requests are about, by its name."""
    names: dict[str, str] = {}
    for name, method, path, said, where in FIRST:
        answer = await ask(server, method, filled(path, names), filled(said, names))
        assert answer.status == 200, (path, answer.json)
        found = answer.json
        for key in where:
            found = found[key]
        if name:
            names[name] = found
    return names


def refusal(answer: Answer) -> tuple[int, Any, str]:
    return answer.status, answer.json.get("error_code"), answer.json.get("message", "")


def expected(status: int, answer: Any, names: dict[str, str]) -> tuple[int, Any, str]:
    # MLflow adds its database's own words to some messages.
    said = answer or {}
    message = said.get("message", "").partition(" Error: (sqlite3.")[0]
    return status, said.get("error_code"), normal(message, names)


def normal(message: str, names: dict[str, str]) -> str:
    """Ids differ, and so does the order in which Python prints a set."""
    for name in ("run", "deleted", "model"):
        message = message.replace(names[name], f"{{{name}}}")
    return re.sub(r"\s+", " ", in_any_order(message))
