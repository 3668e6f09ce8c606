from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.search.errors import InvalidQuery
from projections.search.fields import RUNS
from projections.search.parser import parse_filter
from projections.search.patterns import like_glob, like_matches, regex_matches
from projections.search.tokens import TokenKind, tokenize


def test_tokens_carry_their_columns() -> None:
    tokens = tokenize("metrics.`a b`>= -0.5")

    assert [(token.kind, token.text, token.column) for token in tokens] == [
        (TokenKind.WORD, "metrics.", 1),
        (TokenKind.BACKTICKED, "a b", 9),
        (TokenKind.COMPARISON, ">=", 14),
        (TokenKind.NUMBER, "-0.5", 17),
        (TokenKind.END, "", 21),
    ]


@given(st.text(max_size=60) | st.text("metrics.`'\"()=<>!,;1eE+-. now7dANDORINLIKE", max_size=60))
def test_any_text_is_parsed_or_refused_within_its_columns(text: str) -> None:
    refused = _refusal(text)

    assert refused is None or refused.position is None or 1 <= refused.position <= len(text) + 1


@pytest.mark.parametrize(
    "part", ["'", '"', "`", "1", "1h", "1.", "now+", "a.", "a", "metrics.", "- ", "(", "'a' ", "\n"]
)
def test_hostile_texts_are_refused_in_linear_time(part: str) -> None:
    for prefix in ("", "tags.a = ", "duration > ", "end_time > now-", "metrics.a IN (1,"):
        text = prefix + part * (60_000 // len(part)) + "x"
        began = time.thread_time()

        _refusal(text)

        assert time.thread_time() - began < 5.0, (prefix, part)


def _refusal(text: str) -> InvalidQuery | None:
    try:
        parse_filter(text, RUNS)
    except InvalidQuery as error:
        return error
    return None


def test_a_regular_expression_cannot_hold_the_server() -> None:
    began = time.perf_counter()

    assert not regex_matches("^(a+)+$", "a" * 60_000 + "b")
    assert not like_matches("%a" * 400 + "b", "a" * 60_000, minds_case=True)

    assert time.perf_counter() - began < 5.0


def test_a_like_pattern_becomes_a_glob_with_its_own_characters_enclosed() -> None:
    assert like_glob("a%b_[*?]") == "a*b?[[][*][?]]"
