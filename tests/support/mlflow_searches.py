"""Random data, filters, orders and pages in MLflow's language; seeded, so they can be repeated."""

from __future__ import annotations

import random
from typing import Any

METRICS = ["loss", "acc", "val/loss", "a b", "k.e-y", "order"]
PARAMS = ["lr", "model", "opt im", "x-y", "group"]
TAGS = ["team", "note.a", "mlflow.source.name", "with space", "select"]
VALUES = ["nan", "inf", "-inf", "0.0", "-0.0", "0.5", "0.25", "1", "-3", "1.7e308"]
TEXTS = ["a", "A", "abc", "ABC", "a%b", "a_b", "axb", "é", "É", "it's", "10", "9", "0.1"]
LONG = ["p" * 130 + "a", "p" * 130 + "b", "p" * 128]
STATUSES = ["RUNNING", "FINISHED", "FAILED", "KILLED", "SCHEDULED"]
USERS = ["ann", "Bob", "bob", ""]
NAMES = ["run a", "run b", "Run A", "x"]
PATTERNS = ["a%", "%b", "A_C", "%", "_", "a\\%b", "É", "é%", "%a_", "[a]%", "p%a", "*"]


# Of what a text is put together from, one piece in so many is odd or wrong.
_ODD = 30


def _usually(rng: random.Random, usual: list[str], odd: list[str]) -> str:
    return rng.choice(odd if rng.randrange(_ODD) == 0 else usual)


def data(rng: random.Random, runs: int) -> dict[str, Any]:
    experiments = [
        {
            "id": str(number),
            "name": rng.choice(["exp", "Exp", "test", "éxp"]) + f" {number}",
            "creation_time": rng.choice([1_000, 2_000, 2_000, 3_000]),
            "tags": {
                key: rng.choice(TEXTS) for key in ("team", "with space") if rng.random() < 0.6
            },
            "is_deleted": number in (4, 9),
        }
        for number in range(1, 13)
    ]
    return {"experiments": experiments, "runs": [_run(rng) for _ in range(runs)]}


def _run(rng: random.Random) -> dict[str, Any]:
    status = rng.choice(STATUSES)
    is_over = status in ("FINISHED", "FAILED", "KILLED")
    return {
        "run_id": f"{rng.getrandbits(128):032x}",
        "experiment_id": rng.choice(["0", "1", "2", "3", "4"]),
        "name": rng.choice(NAMES),
        "user": rng.choice(USERS),
        "start_time": rng.choice([0, 1_000, 2_000, 2_000, 1_700_000_000_123]),
        "status": status,
        "end_time": rng.choice([1_500, 2_500, 1_700_000_000_999]) if is_over else None,
        "metrics": [
            [key, rng.choice(VALUES), step, 1]
            for key in METRICS
            if rng.random() < 0.6
            for step in range(rng.choice([1, 1, 2]))
        ]
        + _history(rng),
        "params": {key: rng.choice(TEXTS + LONG) for key in PARAMS if rng.random() < 0.6},
        "tags": {key: rng.choice(TEXTS + LONG) for key in TAGS if rng.random() < 0.6},
        "datasets": _datasets(rng),
        "is_deleted": rng.random() < 0.15,
    }


def _history(rng: random.Random) -> list[list[Any]]:
    """Points in no order, some of them equal."""
    count = rng.choice([0, 0, 1, 40])
    values = [value for value in VALUES if value != "-0.0"]
    return [
        ["history", rng.choice(values), rng.choice([-1, 0, 1, 7]), rng.choice([0, 5, 1_000])]
        for _ in range(count)
    ]


def history_query(rng: random.Random, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_id": rng.choice(data["runs"])["run_id"],
        "key": rng.choice(["history", "history", "loss", "absent"]),
        "max_results": rng.choice([1, 3, 7, 1000]),
        "pages": 50,
    }


def _datasets(rng: random.Random) -> list[dict[str, str]]:
    pairs = {(rng.choice("de"), rng.choice("12")) for _ in range(rng.choice([0, 1, 2]))}
    return [
        {"name": name, "digest": digest, "context": rng.choice(["", "train", "Eval"])}
        for name, digest in sorted(pairs)
    ]


def run_query(rng: random.Random) -> dict[str, Any]:
    experiments = rng.choice([["0", "1", "2", "3", "4"], ["1"], ["0", "2"], ["77"], []])
    clauses = [_run_clause(rng) for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3, 4]))]
    return {
        "experiment_ids": experiments,
        "filter": _joined(rng, clauses),
        "view": rng.choice(["ACTIVE_ONLY", "ACTIVE_ONLY", "ALL", "DELETED_ONLY"]),
        "order_by": [_run_order(rng) for _ in range(rng.choice([0, 0, 1, 1, 2, 3]))],
        "max_results": rng.choice([1, 3, 7, 1000]),
        "pages": rng.choice([1, 3, 100]) if rng.random() < 0.5 else 2,
    }


def experiment_query(rng: random.Random) -> dict[str, Any]:
    clauses = [_experiment_clause(rng) for _ in range(rng.choice([0, 1, 1, 2]))]
    fields = ["name", "experiment_id", "creation_time", "attribute.name"]
    return {
        "filter": _joined(rng, clauses),
        "view": rng.choice(["ACTIVE_ONLY", "ALL", "DELETED_ONLY"]),
        "order_by": [
            _usually(rng, fields, ["tags.team", "nope"]) + rng.choice(["", " ASC", " DESC"])
            for _ in range(rng.choice([0, 0, 1, 2]))
        ],
        "max_results": rng.choice([1, 3, 1000]),
        "pages": 5,
    }


def _joined(rng: random.Random, clauses: list[str]) -> str:
    between = _usually(rng, [" AND ", " AND ", " and ", "  AND\n"], [" OR ", " ", ", "])
    text = between.join(clauses)
    return _usually(rng, [text], [f"({text})", text + ";", text + " AND", f" {text} "])


def _key(rng: random.Random, key: str) -> str:
    if key.isidentifier() and rng.random() < 0.6:
        return key
    return _usually(rng, [f"`{key}`", f'"{key}"'], [key, f"'{key}'"])


def _text(rng: random.Random) -> str:
    value = rng.choice(TEXTS + LONG)
    quote = rng.choice(["'", "'", '"'])
    return _usually(rng, [quote + value + quote], [value, f"`{value}`", "'a", "5"])


def _pattern(rng: random.Random) -> str:
    return f"'{rng.choice(PATTERNS)}'"


def _number(rng: random.Random) -> str:
    usual = ["0", "0.5", ".25", "1", "-3", "1e3", "-1e-2", "1.", "1.7976931348623157e308", "1e999"]
    return _usually(rng, usual, ["-1e999", "'0.5'", "nan", "0x1F", "abc"])


def _listed(rng: random.Random, values: list[str]) -> str:
    found = [repr(rng.choice(values)) for _ in range(rng.choice([1, 2, 3]))]
    text = ", ".join(found)
    return _usually(rng, [f"({text})", f"({text},)"], ["()", "(1, 2)", text, "(a, b)"])


def _run_clause(rng: random.Random) -> str:
    kind = rng.choice(["metric", "metric", "param", "tag", "attribute", "attribute", "dataset"])
    if kind == "metric":
        left = rng.choice(["metrics.", "metric.", "metrics."]) + _key(rng, rng.choice(METRICS))
        operator = _usually(rng, ["=", "!=", "<", "<=", ">", ">="], ["LIKE", "<>", "==", "IN"])
        return f"{left} {operator} {_number(rng)}"
    if kind in ("param", "tag"):
        prefix = rng.choice(
            {"param": ["params", "param", "parameter"], "tag": ["tags", "tag"]}[kind]
        )
        key = rng.choice(PARAMS if kind == "param" else [*TAGS, "mlflow.runName", "absent"])
        return f"{prefix}.{_key(rng, key)} {_text_test(rng)}"
    if kind == "dataset":
        left = rng.choice(["dataset", "datasets"]) + "."
        left += _usually(rng, ["name", "digest", "context"], ["size"])
        values = ["d", "e", "1", "2", "train", "Eval", "eval"]
        if rng.random() < 0.4:
            return f"{left} {rng.choice(['IN', 'NOT IN', 'in'])} {_listed(rng, values)}"
        operator = _usually(rng, ["=", "!=", "LIKE", "ILIKE"], ["<"])
        return f"{left} {operator} '{rng.choice([*values, 'E%', '_'])}'"
    return _attribute_clause(rng)


def _attribute_clause(rng: random.Random) -> str:
    prefix = rng.choice(["", "", "attributes.", "attribute.", "attr.", "run."])
    name = _usually(
        rng,
        ["start_time", "end_time", "created", "status", "user_id", "run_name", "run_id",
         "artifact_uri", "`run name`", "Created"],
        ["lifecycle_stage", "experiment_id"],
    )  # fmt: skip
    if name in ("start_time", "end_time", "created", "Created"):
        operator = _usually(rng, ["=", "!=", "<", "<=", ">", ">="], ["LIKE", "IN"])
        times = ["0", "1000", "2000", "2000.5", "1500", "1700000000123", "-5"]
        value = _usually(rng, times, ["'5'"])
        return f"{prefix}{name} {operator} {value}"
    if name == "run_id" and rng.random() < 0.5:
        ids = [f"{number:x}%" for number in range(16)] + ["absent"]
        return f"{prefix}{name} {rng.choice(['IN', 'NOT IN'])} {_listed(rng, ids)}"
    value = {
        "status": rng.choice([*STATUSES, "finished", "F%"]),
        "user_id": rng.choice([*USERS, "b%"]),
        "run_id": rng.choice(["a%", "%f", "_1%"]),
        "artifact_uri": rng.choice(["%artifacts", "nothing", "%/1/%"]),
    }.get(name, rng.choice([*NAMES, "run%", "RUN%"]))
    operator = _usually(rng, ["=", "!=", "LIKE", "ILIKE", "like"], ["NOT LIKE", "IS NULL", ">"])
    return f"{prefix}{name} {operator} {'' if operator == 'IS NULL' else repr(value)}"


def _text_test(rng: random.Random) -> str:
    operator = _usually(
        rng,
        ["=", "!=", "LIKE", "ILIKE", "ilike", "IS NULL", "IS NOT NULL", "is null"],
        ["IN", "<", "NOT LIKE", "IS"],
    )
    if "NULL" in operator.upper():
        return operator
    if operator == "IN":
        return f"IN {_listed(rng, TEXTS)}"
    return f"{operator} {_pattern(rng) if 'LIKE' in operator.upper() else _text(rng)}"


def _run_order(rng: random.Random) -> str:
    usual = (
        [f"metrics.{_key(rng, rng.choice(METRICS))}"] * 4
        + [f"params.{_key(rng, rng.choice(PARAMS))}"] * 3
        + [f"tags.{_key(rng, rng.choice([*TAGS, 'mlflow.runName', 'absent']))}"] * 3
        + ["start_time", "end_time", "run_id", "status", "attribute.user_id", "run_name"] * 2
        + ["attributes.created", "metrics.absent"]
    )
    field = _usually(rng, usual, ["nope", "datasets.name", "timestamp", "params.opt im"])
    return field + _usually(rng, ["", " ASC", " DESC", " desc", " asc"], [" up"])


def _experiment_clause(rng: random.Random) -> str:
    kind = rng.choice(["name", "time", "tag", "id"])
    prefix = _usually(rng, ["", "attribute."], ["attributes."]) if kind != "tag" else ""
    if kind == "name":
        operator = _usually(rng, ["=", "!=", "LIKE", "ILIKE"], ["like", "IN", "<"])
        return f"{prefix}name {operator} {rng.choice(['exp 1', 'Exp%', 'exp%', '%1', 'É%'])!r}"
    if kind == "time":
        operator = _usually(rng, ["=", "!=", "<", "<=", ">", ">="], ["LIKE"])
        time = _usually(rng, ["1000", "2000", "2500"], ["2500.5", "x"])
        return f"{prefix}creation_time {operator} {time}"
    if kind == "tag":
        return f"{rng.choice(['tag', 'tags'])}.{_key(rng, 'team')} {_text_test(rng)}"
    if rng.random() < 0.5:
        values = _listed(rng, ["1", "10", "3"])
        return f"{prefix}experiment_id {rng.choice(['IN', 'NOT IN'])} {values}"
    operator = _usually(rng, ["=", "!="], ["LIKE", "<"])
    return f"{prefix}experiment_id {operator} {_usually(rng, ['1', '07', '12'], ['x'])!r}"
