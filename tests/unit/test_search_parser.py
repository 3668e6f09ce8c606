from __future__ import annotations

import pytest

from projections.search import ast
from projections.search.ast import Attribute, Compare, Comparison, Match, Matching, Metric, Param
from projections.search.errors import InvalidQuery
from projections.search.fields import EXPERIMENTS, RUNS, Catalog
from projections.search.limits import DEPTH_MAX, PREDICATES_MAX
from projections.search.parser import parse_filter, parse_order

EQ = Comparison.EQ


def parse(text: str) -> ast.Expression | None:
    return parse_filter(text, RUNS)


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_filter_is_no_condition(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("metrics.loss = 1", Metric("loss")),
        ("metric.loss = 1", Metric("loss")),
        ("metrics.`val loss` = 1", Metric("val loss")),
        ('metrics."val loss" = 1', Metric("val loss")),
        ("metrics.val/loss-2 = 1", Metric("val/loss-2")),
        ("metrics.`a``b` = 1", Metric("a`b")),
        ("metrics.потеря = 1", Metric("потеря")),
        ("metrics.min = 1", Metric("min")),
        ("metrics.loss.min = 1", Metric("loss", ast.Summary.MIN)),
        ("metrics.a.b.count = 1", Metric("a.b", ast.Summary.COUNT)),
        ("metrics.`loss.min` = 1", Metric("loss.min")),
        ("metrics.`loss.min`.max = 1", Metric("loss.min", ast.Summary.MAX)),
        ("dropped = 1", Attribute("dropped")),
        ("attributes.children = 1", Attribute("children")),
    ],
)
def test_left_sides_of_numbers(text: str, field: ast.Field) -> None:
    assert parse(text) == Compare(field, EQ, ast.Number(1))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("params.lr = 'x'", Param("lr")),
        ("param.lr = 'x'", Param("lr")),
        ("parameter.lr = 'x'", Param("lr")),
        ("parameters.lr = 'x'", Param("lr")),
        ('tags."mlflow.user" = "x"', ast.Tag("mlflow.user")),
        ("tag.a.min = 'x'", ast.Tag("a.min")),
        ("status = 'x'", Attribute("status")),
        ("attribute.status = 'x'", Attribute("status")),
        ("attr.status = 'x'", Attribute("status")),
        ("run.status = 'x'", Attribute("status")),
        ("attributes.`status` = 'x'", Attribute("status")),
        ("`run name` = 'x'", Attribute("run_name")),
        ("\"Run name\" = 'x'", Attribute("run_name")),
        ("attributes.run_name = 'x'", Attribute("run_name")),
        ("datasets.digest = 'x'", ast.Dataset("digest")),
        ("dataset.context = 'x'", ast.Dataset("context")),
    ],
)
def test_left_sides_of_texts(text: str, field: ast.Field) -> None:
    assert parse(text) == Compare(field, EQ, ast.Text("x"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("metrics.a > -1.5e-3", ast.Number(-1.5e-3)),
        ("metrics.a > .5", ast.Number(0.5)),
        ("metrics.a > 3.", ast.Number(3.0)),
        ("metrics.a > -inf", ast.Number(float("-inf"))),
        ("params.a > 12345678901234567890", ast.Number(12345678901234567890.0)),
        ("start_time > 1700000000000", ast.Number(1700000000000)),
        ("created > now-7d", ast.FromNow(-7 * 86_400_000_000)),
        ("created > now - 1h30m", ast.FromNow(-5_400_000_000)),
        ("created > NOW", ast.FromNow(0)),
        ("created > now +90s", ast.FromNow(90_000_000)),
        ("end_time > '1970-01-01T00:00:01.000002Z'", ast.Moment(1_000_002)),
        ("end_time > '1970-01-01T01:00:00+01:00'", ast.Moment(0)),
        ("end_time > '1970-01-02'", ast.Moment(86_400_000_000)),
        ("duration > 1.5h", ast.Duration(5_400_000_000)),
        ("duration > 1w2d", ast.Duration(9 * 86_400_000_000)),
        ("duration > 250ms", ast.Duration(250_000)),
    ],
)
def test_values(text: str, value: ast.Value) -> None:
    expression = parse(text)

    assert isinstance(expression, Compare)
    assert expression.value == value


def test_a_doubled_quote_stands_for_itself_and_a_backslash_too() -> None:
    assert parse(r"tags.a = 'it''s \n'") == Compare(ast.Tag("a"), EQ, ast.Text(r"it's \n"))


def test_not_binds_tighter_than_and_and_and_tighter_than_or() -> None:
    a, b, c = (Compare(Metric(k), EQ, ast.Number(1)) for k in "abc")

    found = parse("metrics.a = 1 or not metrics.b = 1 AND (metrics.c = 1)")

    assert found == ast.Or((a, ast.And((ast.Not(b), c))))


def test_parentheses_of_the_same_kind_are_flat() -> None:
    assert parse("(is_child AND is_child) AND is_child") == parse(
        "is_child AND (is_child AND is_child)"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params.a LIKE 'x%'", Match(Param("a"), Matching.LIKE, "x%")),
        ("params.a not ilike 'x%'", Match(Param("a"), Matching.ILIKE, "x%", True)),
        ("params.a MATCHES '^x+$'", Match(Param("a"), Matching.RLIKE, "^x+$")),
        ("status in('a', \"b\")", ast.OneOf(Attribute("status"), (ast.Text("a"), ast.Text("b")))),
        ("metrics.a NOT IN (1)", ast.OneOf(Metric("a"), (ast.Number(1),), True)),
        ("tags.a IS NULL", ast.IsNull(ast.Tag("a"))),
        ("tags.a IS NOT NULL", ast.IsNull(ast.Tag("a"), True)),
        ("metrics.a IS NAN", ast.IsNan(Metric("a"))),
        ("is_child", Compare(Attribute("is_child"), EQ, ast.Flag(True))),
        ("is_child != true", Compare(Attribute("is_child"), Comparison.NE, ast.Flag(True))),
        ("metrics.a <> 1", Compare(Metric("a"), Comparison.NE, ast.Number(1))),
    ],
)
def test_predicates(text: str, expected: ast.Expression) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("metrics.loss = 'a'", 16, "a number without quotes"),
        ("metrics.loss", 13, "expected =, !="),
        ("params.a > 'x'", 10, "without quotes"),
        ("tags.a = 5", 10, "a text in quotes"),
        ("tags.a > 'x'", 8, "does not compare texts"),
        ("status = FINISHED", 10, "a text in quotes"),
        ("status = 'x", 10, "not closed"),
        ("foo.bar = 1", 1, "'foo' is unknown"),
        ("metrcs.bar = 1", 1, "did you mean 'metrics'"),
        ("run_nme = 'a'", 1, "did you mean 'run_name'"),
        ("metrics. = 1", 9, "the key after"),
        ("metrics.`` = 1", 9, "the key is empty"),
        ("metrics.`a`.mean = 1", 13, "no summary"),
        ("params.`a`.min = '1'", 12, "no summary"),
        ("(is_child", 10, "')'"),
        ("is_child)", 9, "the end of the filter"),
        ("is_child is_child", 10, "AND, OR or the end"),
        ("is_child AND", 13, "a field"),
        ("duration > 3600", 12, "with its unit"),
        ("start_time > 'yesterday'", 14, "is not a time"),
        ("start_time > later", 14, "now-7d"),
        ("params.a RLIKE '(x'", 16, "missing )"),
        (r"params.a RLIKE '(x)\1'", 16, "refused"),
        ("params.a = 12abc", 12, "neither a number nor a duration"),
        ("metrics.a LIKE '1%'", 16, "works on texts"),
        ("params.a LIKE x", 15, "a pattern in quotes"),
        ("run_id IN ()", 12, "a text in quotes"),
        ("params.a IN ('1', 2)", 19, "both texts and numbers"),
        ("start_time IN (1, now)", 19, "compares texts and numbers"),
        ("params.a IS NAN", 13, "only a metric"),
        ("is_child IS NULL", 13, "never null"),
        ("is_child > true", 12, "no order"),
        ("metrics.a = 1 ; drop", 15, "no meaning"),
        ("tags.a = '\x00'", 11, "not text"),
        ("tags.a = '\ud800'", 11, "not text"),
        ("datasets.size = 'a'", 1, "'size' is unknown"),
        ("duration > 99999999999999999999d", 12, "too long"),
    ],
)
def test_a_mistake_is_refused_at_its_column(text: str, position: int, words: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        parse(text)

    assert (refused.value.position, words in str(refused.value)) == (position, True), refused.value


def test_an_experiment_has_no_metrics() -> None:
    with pytest.raises(InvalidQuery, match="'metrics' is unknown"):
        parse_filter("metrics.a = 1", EXPERIMENTS)


def test_depth_is_bounded() -> None:
    assert parse("(" * DEPTH_MAX + "is_child" + ")" * DEPTH_MAX) is not None

    with pytest.raises(InvalidQuery, match="depth_max"):
        parse("NOT " * (DEPTH_MAX + 1) + "is_child")
    with pytest.raises(InvalidQuery, match="depth_max"):
        parse("(" * 20_000)


def test_the_number_of_conditions_is_bounded() -> None:
    with pytest.raises(InvalidQuery, match="predicates_max"):
        parse(" OR ".join(["is_child"] * (PREDICATES_MAX + 1)))


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("tags.a = '" + "x" * 70_000 + "'", "filter_characters_max"),
        ("tags.a LIKE '" + "x" * 1_001 + "'", "pattern_characters_max"),
        ("metrics.a IN (" + ",".join(["1"] * 10_001) + ")", "in_items_max"),
    ],
)
def test_sizes_are_bounded_and_the_refusal_names_the_limit(text: str, limit: str) -> None:
    with pytest.raises(InvalidQuery, match=limit):
        parse(text)


@pytest.mark.parametrize(
    ("text", "catalog", "term"),
    [
        ("metrics.loss", RUNS, ast.OrderTerm(Metric("loss"))),
        ("metrics.loss ASC", RUNS, ast.OrderTerm(Metric("loss"))),
        (
            "metrics.`val loss`.min desc",
            RUNS,
            ast.OrderTerm(Metric("val loss", ast.Summary.MIN), True),
        ),
        ("attributes.start_time DESC", RUNS, ast.OrderTerm(Attribute("start_time"), True)),
        ("params.lr", RUNS, ast.OrderTerm(Param("lr"))),
        ("creation_time DESC", EXPERIMENTS, ast.OrderTerm(Attribute("creation_time"), True)),
    ],
)
def test_orders(text: str, catalog: Catalog, term: ast.OrderTerm) -> None:
    assert parse_order([text], catalog) == (term,)


def test_the_first_of_equal_order_terms_counts() -> None:
    terms = parse_order(["metrics.a DESC", "metric.a ASC"], RUNS)

    assert terms == (ast.OrderTerm(Metric("a"), True),)


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("metrics.a UP", 11, "ASC, DESC"),
        ("", 1, "a field"),
        ("datasets.name", 1, "datasets"),
        ("nope", 1, "unknown"),
    ],
)
def test_a_bad_order_is_refused_with_its_text(text: str, position: int, words: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        parse_order(["start_time", text], RUNS)

    assert refused.value.position == position
    assert words in str(refused.value)
    assert "order_by" in str(refused.value)
