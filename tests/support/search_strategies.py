"""Random runs, filters and orders that have something to do with each other."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from projections.search import ast
from projections.search.ast import Comparison, Matching, Summary
from tests.support.run_tables import InputRow, MetricRow, RunRow

KEYS = ("loss", "a.min", "it's `ключ`", "never logged")
TEXTS = (
    "",
    "a",
    "A",
    "abc",
    "ab%c",
    "x_y",
    "[a]*?",
    "it's",
    "Ünï",
    "0.1",
    "1e-3",
    " 7 ",
    "007",
    "1e400",
    "inf",
    "nan",
    "\\d",
    "a\nb",
    "ab" * 70,
    "ab" * 70 + "c",
)
NUMBERS = (0.0, -0.0, 1.0, 0.1, 1e-3, 7.0, -3.5, 1e300, math.inf, -math.inf)
PATTERNS = (
    "%",
    "a%",
    "%b%",
    "_",
    "A_C",
    "%ü%",
    "x\\_y",
    "[a]%",
    "",
    "%\nb",
    "ab%c",
    "ab" * 65 + "%",
)
REGEXES = ("^a", "b", "a|7", "[0-9]+$", "(?i)ünï", "^$", r"\.")
MILLISECONDS = (-1, 0, 1, 2, 5)
NOW_US = 5_500
EXPERIMENTS = {"0": "Default", "1": "it's", "2": "Ünï", "9": "gone"}
STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")

keys = st.sampled_from(KEYS)
texts = st.sampled_from(TEXTS)
numbers = st.sampled_from(NUMBERS)
values = numbers | st.just(math.nan)


def metric_rows() -> st.SearchStrategy[MetricRow]:
    return st.lists(values, min_size=1, max_size=3).map(lambda series: MetricRow.of(*series))


input_rows = st.builds(
    InputRow,
    texts,
    texts,
    st.just({}) | st.builds(lambda text: {"mlflow.data.context": text, "other": "a"}, texts),
)


@st.composite
def run_rows(draw: st.DrawFn, index: int) -> RunRow:
    run_id = f"run{index}"
    start_us = draw(st.sampled_from((0, 1_000, 1_999, 2_000, 5_000)))
    return RunRow(
        run_id=run_id,
        experiment_id=draw(st.sampled_from(tuple(EXPERIMENTS))),
        name=draw(texts),
        user_id=draw(st.sampled_from(("ada", "Ünï"))),
        status=draw(st.sampled_from(STATUSES)),
        start_us=start_us,
        end_us=draw(st.none() | st.sampled_from((start_us, start_us + 1_500))),
        end_reason=draw(st.none() | texts),
        parent_run_id=draw(st.none() | st.sampled_from(("run0", "run1"))),
        lifecycle_stage=draw(st.sampled_from(("active", "active", "deleted"))),
        dropped=draw(st.sampled_from((0, 3))),
        params=draw(st.dictionaries(keys, texts, max_size=3)),
        tags=draw(st.dictionaries(keys, st.none() | texts, max_size=3)),
        metrics=draw(st.dictionaries(keys, metric_rows(), max_size=3)),
        inputs=draw(st.lists(input_rows, max_size=2)),
    )


@st.composite
def stores(draw: st.DrawFn, most: int = 8) -> list[RunRow]:
    count = draw(st.integers(0, most))
    return [draw(run_rows(index)) for index in range(count)]


_text_attributes = st.sampled_from(
    (
        "run_id",
        "run_name",
        "experiment_id",
        "experiment_name",
        "user_id",
        "status",
        "liveness",
        "lifecycle_stage",
        "artifact_uri",
        "parent_run_id",
        "end_reason",
        "end_detail",
    )
).map(ast.Attribute)
_time_attributes = st.sampled_from(("start_time", "end_time")).map(ast.Attribute)
_number_attributes = st.sampled_from(("children", "dropped")).map(ast.Attribute)
_metrics = st.builds(ast.Metric, keys, st.sampled_from(Summary))
_params = st.builds(ast.Param, keys)
_texts_fields = (
    _text_attributes
    | _params
    | st.builds(ast.Tag, keys)
    | st.sampled_from(("name", "digest", "context")).map(ast.Dataset)
)
_numbers_fields = _metrics | _number_attributes
_literals = (
    texts
    | st.sampled_from(
        (
            "run0",
            "run1",
            "1",
            "Default",
            "it's",
            "ada",
            "RUNNING",
            "FINISHED",
            "live",
            "lost",
            "ended",
            "active",
            "deleted",
        )
    )
).map(ast.Text)
_number_literals = (numbers | st.sampled_from((0, 1, 2, 3, 7))).map(ast.Number)
_equality = st.sampled_from((Comparison.EQ, Comparison.NE))
_comparisons = st.sampled_from(Comparison)
_times = (
    (st.sampled_from((*MILLISECONDS, 0.5, 1.5, math.inf, -math.inf))).map(ast.Number)
    | st.sampled_from((0, 1_000, 1_500, 1_999)).map(ast.Moment)
    | st.sampled_from((0, -500, -4_500)).map(ast.FromNow)
)
_negations = st.booleans()


def _lists(
    items: st.SearchStrategy[ast.Text | ast.Number],
) -> st.SearchStrategy[tuple[ast.Text | ast.Number, ...]]:
    return st.lists(items, min_size=1, max_size=3).map(tuple)


predicates: st.SearchStrategy[ast.Expression] = st.one_of(
    st.builds(ast.Compare, _texts_fields, _equality, _literals),
    st.builds(ast.Compare, _params | _numbers_fields, _comparisons, _number_literals),
    st.builds(ast.Compare, _time_attributes, _comparisons, _times),
    st.builds(
        ast.Compare,
        st.just(ast.Attribute("duration")),
        _comparisons,
        st.sampled_from((0, 500, 1_500, 4_500)).map(ast.Duration),
    ),
    st.builds(
        ast.Compare, st.just(ast.Attribute("is_child")), _equality, st.booleans().map(ast.Flag)
    ),
    st.builds(ast.OneOf, _texts_fields, _lists(_literals), _negations),
    st.builds(ast.OneOf, _params | _numbers_fields, _lists(_number_literals), _negations),
    st.builds(
        ast.Match,
        _texts_fields,
        st.sampled_from((Matching.LIKE, Matching.ILIKE)),
        st.sampled_from(PATTERNS),
        _negations,
    ),
    st.builds(
        ast.Match, _texts_fields, st.just(Matching.RLIKE), st.sampled_from(REGEXES), _negations
    ),
    st.builds(
        ast.IsNull,
        _texts_fields | _numbers_fields | _time_attributes | st.just(ast.Attribute("duration")),
        _negations,
    ),
    st.builds(ast.IsNan, _metrics, _negations),
)

expressions: st.SearchStrategy[ast.Expression] = st.recursive(
    predicates,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(ast.conjunction),
        st.lists(inner, min_size=2, max_size=3).map(ast.disjunction),
        inner.map(ast.Not),
    ),
    max_leaves=6,
)

_ordered = st.one_of(
    _metrics,
    _params,
    st.builds(ast.Tag, keys),
    _time_attributes,
    _number_attributes,
    st.sampled_from(("duration", "is_child")).map(ast.Attribute),
    _text_attributes,
)
# Orders that an index has, and so may be walked.
walked_orders = st.builds(
    lambda first, rest: [first, *(term for term in rest if term.field != first.field)],
    st.builds(
        ast.OrderTerm,
        st.one_of(
            st.builds(ast.Metric, st.sampled_from(KEYS[:2])),
            st.builds(ast.Param, st.sampled_from(KEYS[:2])),
            st.builds(ast.Tag, st.sampled_from(KEYS[:2])),
            st.just(ast.Attribute("start_time")),
        ),
        st.booleans(),
    ),
    st.lists(st.builds(ast.OrderTerm, _ordered, st.booleans()), max_size=1),
)
orders = st.lists(
    st.builds(ast.OrderTerm, _ordered, st.booleans()), max_size=3, unique_by=lambda t: t.field
)
