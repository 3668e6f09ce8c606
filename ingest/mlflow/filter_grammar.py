"""MLflow's filters and orders: texts become clauses, or MLflow's refusal of them.

MLflow defines its language by what the library sqlparse makes of a text and by what it then
accepts of that, oddities included: ANDs that are missing or too many do not matter, texts
keep their doubled quotes, lists are read as Python reads them. So that the same texts are
valid here, the same library reads them. What the clauses mean is in `filter_trees`.

Keys and values keep the form they are written in; comparators are as written too.
"""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

import sqlparse
from sqlparse import sql, tokens
from sqlparse.exceptions import SQLParseError

from ingest.mlflow.errors import MlflowRefusal, invalid

ATTRIBUTE: Final = "attribute"
METRIC: Final = "metric"
PARAM: Final = "parameter"
TAG: Final = "tag"
DATASET: Final = "dataset"

Value: TypeAlias = str | int | float | tuple[str, ...] | None

_NUMBERS: Final = (tokens.Number.Integer, tokens.Number.Float)
_TEXT: Final = tokens.String.Single
_SHOWN_MAX: Final = 500
_KINDS: Final = [METRIC, PARAM, TAG, ATTRIBUTE, DATASET]
_PREFIXES: Final = {
    "metric": METRIC,
    "metrics": METRIC,
    "parameter": PARAM,
    "parameters": PARAM,
    "param": PARAM,
    "params": PARAM,
    "tag": TAG,
    "tags": TAG,
    "attribute": ATTRIBUTE,
    "attributes": ATTRIBUTE,
    "attr": ATTRIBUTE,
    "run": ATTRIBUTE,
    "dataset": DATASET,
    "datasets": DATASET,
}
_DATASET_KEYS: Final = frozenset({"name", "digest", "context"})


class Clause(NamedTuple):
    kind: str
    key: str
    comparator: str  # IS NULL and IS NOT NULL have no value
    value: Value


class OrderClause(NamedTuple):
    kind: str
    key: str
    is_descending: bool


@dataclass(frozen=True, slots=True)
class Grammar:
    """What distinguishes the filters of one entity from those of another."""

    attributes: frozenset[str]
    order_attributes: frozenset[str]
    numeric_attributes: frozenset[str]
    list_attributes: frozenset[str]
    # The prefixes there are, where they are not all.
    prefixes: tuple[str, ...] = ()
    quotes_invalid_clauses: bool = True


_OF_RUNS: Final = frozenset(
    {
        "artifact_uri",
        "created",
        "Created",
        "end_time",
        "run_id",
        "run_name",
        "start_time",
        "status",
        "user_id",
    }
)
RUNS: Final = Grammar(
    attributes=_OF_RUNS | {"run name", "Run name", "Run Name"},
    order_attributes=_OF_RUNS,
    numeric_attributes=frozenset({"start_time", "end_time", "created", "Created"}),
    list_attributes=frozenset({"run_id"}),
)
EXPERIMENTS: Final = Grammar(
    attributes=frozenset({"name", "experiment_id", "creation_time", "last_update_time"}),
    order_attributes=frozenset({"name", "experiment_id", "creation_time", "last_update_time"}),
    numeric_attributes=frozenset({"creation_time", "last_update_time"}),
    list_attributes=frozenset({"experiment_id"}),
    prefixes=("attribute", "tag", "tags"),
    quotes_invalid_clauses=False,
)


def cut(text: object) -> str:
    """A piece of a request as an error shows it."""
    shown = str(text)
    return shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}…"


def set_text(names: frozenset[str] | set[str]) -> str:
    """A set as MLflow's messages print it, but in order."""
    return "{" + ", ".join(repr(name) for name in sorted(names)) + "}"


@lru_cache(maxsize=256)
def parse_filter(text: str, grammar: Grammar) -> tuple[Clause, ...]:
    """The clauses of `text`, all of which must hold. Raises MlflowRefusal."""
    if not text:
        return ()
    found = statements(text, lambda: f"Error on parsing filter '{cut(text)}'")
    if not found:
        raise invalid(f"Invalid filter '{cut(text)}'. Could not be parsed.")
    if len(found) > 1:
        raise invalid(
            f"Search filter contained multiple expression {cut(text)!r}. "
            "Provide AND-ed expression list."
        )
    pieces = joined(found[0].tokens)
    wrong = [piece for piece in pieces if not isinstance(piece, Pieces) and not _is_and(piece)]
    if wrong:
        quote = "'" if grammar.quotes_invalid_clauses else ""
        listed = ", ".join(f"{quote}{piece}{quote}" for piece in wrong)
        raise invalid(f"Invalid clause(s) in filter string: {cut(listed)}")
    return tuple(_clause(piece, grammar) for piece in pieces if isinstance(piece, Pieces))


def statements(text: str, refusal: Callable[[], str]) -> Sequence[Any]:
    """The statements that sqlparse finds in `text`."""
    if any(c == "\0" or 0xD800 <= ord(c) < 0xE000 for c in text):
        raise invalid(refusal())
    try:
        return sqlparse.parse(text)
    except (SQLParseError, RecursionError, ValueError):
        raise invalid(refusal()) from None


class Pieces(NamedTuple):
    """A comparison, taken apart: the left side, the comparator and, mostly, a value."""

    tokens: tuple[Any, ...]

    def __str__(self) -> str:
        return " ".join(map(str, self.tokens))


class Word(NamedTuple):
    """A comparator of several tokens."""

    value: str


def joined(found: Sequence[Any]) -> list[Any]:
    """The tokens without white space, with what sqlparse does not see as comparisons joined.

    Those are IN, NOT IN, IS NULL and IS NOT NULL behind an identifier. Where neither comes,
    MLflow takes up to four tokens as they are, which its errors show.
    """
    seen = [token for token in found if not token.is_whitespace]
    pieces: list[Any] = []
    at = 0
    while at < len(seen):
        first = seen[at]
        if isinstance(first, sql.Comparison):
            parts = tuple(part for part in first.tokens if not part.is_whitespace)
            pieces.append(Pieces(parts))
            at += 1
            continue
        if not isinstance(first, sql.Identifier) or len(seen) - at < 3:
            pieces.append(first)
            at += 1
            continue
        width, piece = _joined_at(seen[at : at + 4])
        if piece is None:
            pieces.extend(_apart(seen[at : at + width]))
        else:
            pieces.append(piece)
        at += width
    return pieces


def _joined_at(seen: Sequence[Any]) -> tuple[int, Pieces | None]:
    """(how many tokens are taken, the comparison they make, if they make one)."""
    first, second, third = seen[:3]
    if _is_keyword(second, "IN") and isinstance(third, sql.Parenthesis):
        return 3, Pieces((first, second, third))
    if _is_keyword(second, "IS") and _is_keyword(third, "NULL"):
        return 3, Pieces((first, Word("IS NULL")))
    if _is_keyword(second, "IS") and _is_keyword(third, "NOT NULL"):
        return 3, Pieces((first, Word("IS NOT NULL")))
    if (
        len(seen) == 4
        and _is_keyword(second, "NOT")
        and _is_keyword(third, "IN")
        and isinstance(seen[3], sql.Parenthesis)
    ):
        return 4, Pieces((first, Word("NOT IN"), seen[3]))
    return len(seen), None


def _apart(seen: Sequence[Any]) -> Iterator[Any]:
    for token in seen:
        is_comparison = isinstance(token, sql.Comparison)
        yield (
            Pieces(tuple(t for t in token.tokens if not t.is_whitespace))
            if (is_comparison)
            else token
        )


def _is_keyword(token: Any, word: str) -> bool:
    return token.ttype is tokens.Keyword and token.value.upper() == word


def _is_and(token: Any) -> bool:
    return bool(token.match(tokens.Keyword, ["AND"]))


def _clause(pieces: Pieces, grammar: Grammar) -> Clause:
    parts = pieces.tokens
    comparator = parts[1].value if len(parts) > 1 else ""
    is_null = len(parts) == 2 and comparator.upper() in ("IS NULL", "IS NOT NULL")
    if len(parts) != 3 and not is_null:
        raise invalid(f"Invalid comparison clause. Expected 3 tokens found {len(parts)}")
    if not isinstance(parts[0], sql.Identifier):
        raise invalid(f"Invalid comparison clause. Expected 'Identifier' found '{cut(parts[0])}'")
    kind, key = _identifier(parts[0].value, grammar.attributes, grammar)
    if is_null:
        _check_null(kind, key, grammar)
        return Clause(kind, key, comparator.upper(), None)
    return Clause(kind, key, comparator, _value(kind, key, parts[2], grammar))


def _check_null(kind: str, key: str, grammar: Grammar) -> None:
    if kind == TAG or (kind == PARAM and grammar is RUNS):
        return
    if grammar is RUNS:
        raise invalid(
            "IS NULL / IS NOT NULL is only supported for tags and params, "
            f"not for '{kind}' '{cut(key)}'"
        )
    raise invalid(
        f"IS NULL / IS NOT NULL is only supported for tags, not for attribute '{cut(key)}'"
    )


def _identifier(text: str, attributes: frozenset[str], grammar: Grammar) -> tuple[str, str]:
    """(kind, key) of a left side."""
    prefix, dot, key = text.partition(".")
    if not dot:
        prefix, key = ATTRIBUTE, text
    elif grammar.prefixes and prefix not in grammar.prefixes:
        raise invalid(
            f"Invalid entity type '{cut(prefix)}'. Valid entity types are {grammar.prefixes}"
        )
    prefix = _without(prefix, "`")
    kind = _PREFIXES.get(prefix)
    if kind is None:
        raise invalid(f"Invalid entity type '{cut(prefix)}'. Valid values are {_KINDS}")
    key = _without(_without(key, "'\""), "`")
    if kind == ATTRIBUTE and key not in attributes:
        raise invalid(
            f"Invalid attribute key '{cut(key)}' specified. Valid keys are '{set_text(attributes)}'"
        )
    if kind == DATASET and key not in _DATASET_KEYS:
        raise invalid(
            f"Invalid dataset key '{cut(key)}' specified. "
            f"Valid keys are '{set_text(_DATASET_KEYS)}'"
        )
    return kind, key


def _without(text: str, quotes: str) -> str:
    is_quoted = len(text) >= 2 and text[0] in quotes and text[0] == text[-1]
    return text[1:-1] if is_quoted else text


def _value(kind: str, key: str, token: Any, grammar: Grammar) -> Value:
    if kind == METRIC:
        if token.ttype not in _NUMBERS:
            raise invalid(f"Expected numeric value type for metric. Found {cut(token.value)}")
        return float(token.value)
    is_text = token.ttype is _TEXT or isinstance(token, sql.Identifier)
    if kind in (PARAM, TAG):
        if is_text:
            return _quoted(token.value)
        raise invalid(
            f"Expected a quoted string value for {kind} (e.g. 'my-value'). "
            f"Got value {cut(token.value)}"
        )
    if kind == ATTRIBUTE and key in grammar.numeric_attributes:
        return _number(key, token)
    if is_text:
        return _quoted(token.value)
    if isinstance(token, sql.Parenthesis):
        if kind == ATTRIBUTE and key not in grammar.list_attributes:
            raise invalid(
                f"Only {sorted(grammar.list_attributes)} attributes support "
                "comparison with a list of quoted string values."
            )
        return texts_of(token.value)
    what = "attributes" if kind == ATTRIBUTE else "dataset attributes"
    raise invalid(f"Expected a quoted string value for {what}. Got value {cut(token.value)}")


def _number(key: str, token: Any) -> int | float:
    if token.ttype not in _NUMBERS:
        raise invalid(
            f"Expected numeric value type for numeric attribute: {key}. Found {cut(token.value)}"
        )
    if token.ttype is tokens.Number.Integer and len(token.value) <= 1000:
        return int(token.value)
    return float(token.value)


def _quoted(text: str) -> str:
    if len(text) >= 2 and text[0] in "'\"" and text[0] == text[-1]:
        return text[1:-1]
    raise invalid(
        "Parameter value is either not quoted or unidentified quote "
        f"types used for string value {cut(text)}. Use either single or double quotes."
    )


def texts_of(text: str) -> tuple[str, ...]:
    """A list in brackets, as Python reads it. Raises MlflowRefusal."""
    try:
        found = ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise invalid(
            "While parsing a list in the query,"
            " expected a non-empty list of string values, but got ill-formed list."
        ) from None
    values = found if isinstance(found, tuple) else (found,)
    if not values:
        raise invalid(
            "While parsing a list in the query,"
            " expected a non-empty list of string values, but got empty list"
        )
    if not all(isinstance(value, str) for value in values):
        raise invalid(
            "While parsing a list in the query, expected string value, punctuation, "
            f"or whitespace, but got different type in list: {cut(values)}"
        )
    if any("\0" in value or any(0xD800 <= ord(c) < 0xE000 for c in value) for value in values):
        raise invalid("While parsing a list in the query, found a value that is not text")
    return values


@lru_cache(maxsize=256)
def parse_order(text: str, grammar: Grammar) -> OrderClause:
    """One left side and its direction. Raises MlflowRefusal."""
    written = _order_text(text)
    try:
        words = shlex.split(written.replace("`", '"'))
    except ValueError:
        raise _unreadable(text) from None
    is_descending = False
    if len(words) > 2:
        raise _unreadable(text)
    if len(words) == 2:
        direction = words[1].lower()
        if direction not in ("asc", "desc"):
            raise invalid(f"Invalid ordering key in order_by clause '{cut(text)}'.")
        written, is_descending = words[0], direction == "desc"
    kind, key = _identifier(written.strip(), grammar.order_attributes, grammar)
    return OrderClause(kind, key, is_descending)


def _order_text(text: str) -> str:
    found = statements(text, lambda: f"Error on parsing order_by clause '{cut(text)}'")
    if len(found) != 1:
        raise _unreadable(text)
    parts = found[0].tokens
    if len(parts) == 1 and isinstance(parts[0], sql.Identifier):
        return str(parts[0].value)
    # To sqlparse this one is the name of a type, which matters to the registry's orders only.
    if (
        parts
        and parts[0].match(tokens.Name.Builtin, ["timestamp"])
        and (len(parts) == 1 or parts[-1].ttype is tokens.Keyword.Order)
        and all(part.is_whitespace for part in parts[1:-1])
    ):
        return "timestamp"
    raise _unreadable(text)


def _unreadable(text: str) -> MlflowRefusal:
    return invalid(f"Invalid order_by clause '{cut(text)}'. Could not be parsed.")
