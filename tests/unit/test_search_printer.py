from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from projections.search import ast
from projections.search.fields import RUNS
from projections.search.parser import parse_filter, parse_order
from projections.search.printer import print_filter, print_order
from tests.support.search_strategies import expressions, orders

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(expressions)
def test_what_is_printed_parses_back_into_the_same_tree(expression: ast.Expression) -> None:
    assert parse_filter(print_filter(expression), RUNS) == expression


@given(_texts.filter(bool), _texts)
def test_any_key_and_any_text_can_be_written(key: str, text: str) -> None:
    expression = ast.Compare(ast.Tag(key), ast.Comparison.EQ, ast.Text(text))

    assert parse_filter(print_filter(expression), RUNS) == expression


@given(st.floats(allow_nan=False) | st.integers(-(10**17), 10**17))
def test_any_number_can_be_written(number: float) -> None:
    expression = ast.Compare(ast.Metric("m"), ast.Comparison.LT, ast.Number(number))

    assert parse_filter(print_filter(expression), RUNS) == expression


@given(st.integers(-(2**61), 2**61))
def test_any_offset_from_now_can_be_written(microseconds: int) -> None:
    value = ast.FromNow(microseconds)
    expression = ast.Compare(ast.Attribute("end_time"), ast.Comparison.LT, value)

    assert parse_filter(print_filter(expression), RUNS) == expression


@given(orders)
def test_a_printed_order_parses_back(terms: list[ast.OrderTerm]) -> None:
    assert list(parse_order([print_order(term) for term in terms], RUNS)) == terms
