"""Random logged models, and searches of them in MLflow's language; seeded."""

from __future__ import annotations

import random
from typing import Any

EXPERIMENTS = ["0", "1", "2", "10"]
NAMES = ["model a", "model b", "Model A", "a_b", "axb", "É"]
TYPES = ["agent", "Agent", "llm", None]
PARAMS = ["lr", "depth", "a b", "x-y"]
TAGS = ["team", "note.a", "with space"]
TEXTS = ["a", "A", "abc", "ABC", "a%b", "a_b", "axb", "é", "É", "10", "9", "0.1"]
PATTERNS = ["a%", "%b", "A_C", "%", "_", "É", "é%", "[a]%", "*", "m%", "M%"]
METRICS = ["acc", "val/loss", "a b"]
VALUES = ["0.5", "0.25", "1", "-3", "0.0", "inf", "-inf", "1e300"]
DATASETS = [("train", "d1"), ("train", "d2"), ("test", "d2"), (None, None)]
TIMES = [1_000, 2_000, 2_000, 3_000]


def data(rng: random.Random, *, models: int, runs: int) -> dict[str, Any]:
    """Experiments 1 to 10 beside the default one; runs that measured the models."""
    run_ids = sorted(f"{rng.getrandbits(128):032x}" for _ in range(runs))
    return {
        "experiments": [str(number) for number in range(1, 11)],
        "runs": run_ids,
        "models": [_model(rng, run_ids) for _ in range(models)],
    }


def _model(rng: random.Random, run_ids: list[str]) -> dict[str, Any]:
    return {
        "model_id": f"m-{rng.getrandbits(128):032x}",
        "experiment_id": rng.choice(EXPERIMENTS),
        "name": rng.choice(NAMES),
        "source_run_id": rng.choice([None, *run_ids]),
        "model_type": rng.choice(TYPES),
        "created": rng.choice(TIMES),
        "finalized": rng.choice([None, 4_000, 5_000]),
        "params": {key: rng.choice(TEXTS) for key in PARAMS if rng.random() < 0.6},
        "tags": {key: rng.choice(TEXTS) for key in TAGS if rng.random() < 0.6},
        "points": _points(rng, run_ids),
        "is_deleted": rng.random() < 0.1,
    }


def _points(rng: random.Random, run_ids: list[str]) -> list[list[Any]]:
    """[run id, key, value, step, time in ms, dataset, digest], no two of one place."""
    found: dict[tuple[Any, ...], list[Any]] = {}
    for _ in range(rng.choice([0, 1, 3, 6])):
        run_id, key = rng.choice(run_ids), rng.choice(METRICS)
        step, time_ms = rng.choice([0, 1, 7]), rng.choice([5, 1_000])
        value = rng.choice(VALUES)
        # MLflow keeps one point of a model's metric per run, time and step.
        found[(run_id, key, step, time_ms)] = [
            *(run_id, key, value, step, time_ms),
            *rng.choice(DATASETS),
        ]
    return list(found.values())


def query(rng: random.Random) -> dict[str, Any]:
    clauses = [_clause(rng) for _ in range(rng.choice([0, 1, 1, 1, 2, 3]))]
    return {
        "experiment_ids": rng.choice([EXPERIMENTS, EXPERIMENTS, ["1"], ["2", "10"], ["77"]]),
        "filter": rng.choice([" AND ", " and ", "  AND\n"]).join(clauses),
        "datasets": _datasets(rng),
        "order_by": [_order(rng) for _ in range(rng.choice([0, 0, 1, 1, 2]))],
        "max_results": rng.choice([1, 3, 7, 100]),
        "pages": rng.choice([1, 2, 3, 12]),
    }


def _datasets(rng: random.Random) -> list[dict[str, str]]:
    chosen = rng.sample(DATASETS[:3], rng.choice([0, 0, 0, 1, 2]))
    return [
        {"dataset_name": name} | ({"dataset_digest": digest} if rng.random() < 0.5 else {})
        for name, digest in chosen
        if name is not None and digest is not None
    ]


def _usually(rng: random.Random, usual: list[str], odd: list[str]) -> str:
    return rng.choice(odd if rng.randrange(30) == 0 else usual)


def _key(rng: random.Random, key: str) -> str:
    return key if key.isidentifier() and rng.random() < 0.6 else f"`{key}`"


def _clause(rng: random.Random) -> str:
    kind = rng.choice(["metrics", "params", "tags", "name", "type", "time", "id"])
    match kind:
        case "metrics":
            left = f"metrics.{_key(rng, rng.choice([*METRICS, 'absent']))}"
            value = _usually(rng, ["0", "0.5", "-3", "1e3", "1e301", "-1e301"], ["'0.5'", "abc"])
            return f"{left} {_numeric(rng)} {value}"
        case "params" | "tags":
            keys = PARAMS if kind == "params" else TAGS
            return f"{kind}.{_key(rng, rng.choice([*keys, 'absent']))} {_textual(rng, TEXTS)}"
        case "time":
            name = rng.choice(
                ["creation_time", "creation_timestamp", "creation_timestamp_ms",
                 "last_updated_timestamp", "last_updated_timestamp_ms"]
            )  # fmt: skip
            value = _usually(rng, ["1000", "2000", "2500.5", "4000", "-1"], ["'1000'", "x"])
            return f"{name} {_numeric(rng)} {value}"
        case "id":
            name = rng.choice(["model_id", "source_run_id", "experiment_id"])
            if name == "experiment_id":
                return f"{name} {rng.choice(['=', '!='])} '{rng.choice(EXPERIMENTS)}'"
            return f"{name} {rng.choice(['LIKE', 'ILIKE'])} '{rng.choice(['m-a%', '%1%', '%A%'])}'"
        case "type":
            return f"model_type {_textual(rng, ['agent', 'Agent', 'llm'])}"
    name = _usually(rng, ["name"], ["attributes.name", "nope", "metric.acc", "`name`"])
    return f"{name} {_textual(rng, NAMES)}"


def _numeric(rng: random.Random) -> str:
    return _usually(rng, ["=", "!=", "<", "<=", ">", ">="], ["LIKE", "IN"])


def _textual(rng: random.Random, values: list[str]) -> str:
    operator = _usually(
        rng, ["=", "!=", "LIKE", "ILIKE", "like", "ilike", "IN", "NOT IN", "in"], ["<", ">="]
    )
    if operator.upper().endswith("IN"):
        chosen = ", ".join(repr(rng.choice(values)) for _ in range(rng.choice([1, 2, 3])))
        return f"{operator} ({chosen})"
    if "LIKE" in operator.upper():
        return f"{operator} '{rng.choice(PATTERNS)}'"
    return f"{operator} '{rng.choice(values)}'"


def _order(rng: random.Random) -> dict[str, Any]:
    usual = [
        *(f"metrics.{key}" for key in [*METRICS, *METRICS, "absent"]),
        *("name", "model_id", "model_type", "source_run_id", "experiment_id"),
        *("creation_time", "creation_timestamp", "last_updated_timestamp"),
    ]
    field = _usually(rng, usual, ["nope", "params.lr", "tags.team"])
    order: dict[str, Any] = {"field_name": field, "ascending": rng.random() < 0.5}
    if field.startswith("metrics.") and rng.random() < 0.4:
        order["dataset_name"] = rng.choice(["train", "test"])
        if rng.random() < 0.5:
            order["dataset_digest"] = rng.choice(["d1", "d2"])
    return order
