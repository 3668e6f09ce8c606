"""Where the SQL of a compiled search differs between databases; everything else is one text.

The compiler, the planner and the orders are written once. What they write is understood by
SQLite and PostgreSQL alike; the few things that are not are asked of a `Dialect`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from projections.connection import Connection
from projections.search import ast
from projections.search.ast import Comparison, Matching
from projections.search.patterns import like_glob
from projections.search.sql_text import Sql, enclosed

if TYPE_CHECKING:
    from projections.search.entities_sqlite import Entity

# Functions that the reader's SQLite connection provides, see `sqlite_functions`.
REGEX_FUNCTION: Final = "search_regex"
ILIKE_FUNCTION: Final = "search_ilike"


class Dialect(Protocol):
    @property
    def build(self) -> str:
        """An expression that names the build which is read, where there are several."""
        ...

    @property
    def ordered_join(self) -> str:
        """A join of which the left side comes first when the query is run."""
        ...

    def run_join(self, run_no: str, *, is_of_run: bool) -> str:
        """An ordered join of the run `r` that has this number, which `is_of_run`: it was read
        from that very row."""
        ...

    def checked_join(self, row: Sql, alias: str, test: Sql) -> tuple[Sql, Sql]:
        """(join, condition) that keep what has this row, if the row passes the test.

        `row` is "TABLE ALIAS ON …", of one row at most; it is looked up for each row on the left.
        """
        ...

    def exists(self, found: Sql) -> Sql:
        """Whether this SELECT finds a row."""
        ...

    @property
    def rows_of_set_per_look(self) -> float:
        """How many runs can become a set of those that fulfil a condition, by its index, in the
        time of a look at whether one run fulfils it."""
        ...

    def rows_passed_per_look(self, order: ast.Field) -> float:
        """How many rows of the index of an order are passed, of runs that are not in such a set,
        in the time in which one run is looked up."""
        ...

    def is_in_set(self, run_no: str, rows: Sql) -> Sql:
        """Whether this SELECT has the run's number; it is run once, and its rows are hashed."""
        ...

    @property
    def for_few(self) -> Dialect:
        """The same, for questions about so few rows that each is looked up by itself."""
        ...

    def unestimated(self, condition: Sql) -> Sql:
        """The same condition, of which the planner expects that many rows fulfil it."""
        ...

    def by_index(self, name: str) -> str:
        """What follows a table that is to be read along this index."""
        ...

    def unoptimised(self, column: str) -> str:
        """The same text, but not recognised as the column by the planner."""
        ...

    def beginning(self, column: str) -> str:
        """Of a param's or tag's text what is read soonest: the first ORDER_CHARACTERS_MAX
        characters of it, or more."""
        ...

    def stores_as_is(self, text: str) -> bool:
        """False for a text that is longer where it is stored."""
        ...

    def is_one_of(self, value: Sql, texts: Sequence[str], *, is_negated: bool = False) -> Sql: ...

    def is_one_of_numbers(
        self, value: Sql, numbers: Sequence[int | float], *, is_negated: bool
    ) -> Sql: ...

    def texts_table(self, texts: Sequence[str], alias: str) -> Sql:
        """A table of the texts with the column `value`."""
        ...

    def numbers_table(self, numbers: Sequence[int], alias: str) -> Sql:
        """A table of the integers with the column `value`."""
        ...

    def compare_whole(self, value: Sql, comparison: Comparison, number: int | float) -> Sql:
        """Compare a column of integers with any number."""
        ...

    def is_read_as_number(self, number: str) -> str:
        """Whether a param's text reads as a number; `number` is the column of it."""
        ...

    def prepared(
        self, connection: Connection, expression: ast.Expression | None, entity: Entity
    ) -> ast.Expression | None:
        """The filter without what this database cannot be asked; see postgres.patterns."""
        ...

    def matches(self, value: Sql, matching: Matching, pattern: str) -> Sql: ...


class SqliteDialect:
    """See Dialect."""

    build = "''"
    ordered_join = " CROSS JOIN "
    rows_of_set_per_look = 1.0

    def run_join(self, run_no: str, *, is_of_run: bool) -> str:
        return f"{self.ordered_join}run r ON r.run_no = {run_no}"

    def checked_join(self, row: Sql, alias: str, test: Sql) -> tuple[Sql, Sql]:
        return Sql(self.ordered_join) + row, test

    def exists(self, found: Sql) -> Sql:
        return Sql("EXISTS ") + enclosed(found)

    def rows_passed_per_look(self, order: ast.Field) -> float:
        # An index of expressions tells no values: each row that is passed is a look.
        return 4.0 if isinstance(order, ast.Metric) else 0.0

    def is_in_set(self, run_no: str, rows: Sql) -> Sql:
        # The plus keeps SQLite from taking the set for a way to the rows.
        return Sql(f"+{run_no} IN ") + enclosed(rows)

    @property
    def for_few(self) -> Dialect:
        return self

    def unestimated(self, condition: Sql) -> Sql:
        return condition

    def by_index(self, name: str) -> str:
        return f" INDEXED BY {name}"

    def unoptimised(self, column: str) -> str:
        # The plus keeps SQLite from putting the constant of `value = ?` into substr(value …),
        # after which it would not know the index's expression again.
        return "+" + column

    def beginning(self, column: str) -> str:
        return column

    def stores_as_is(self, text: str) -> bool:
        return True

    def is_one_of(self, value: Sql, texts: Sequence[str], *, is_negated: bool = False) -> Sql:
        """The texts travel as one JSON parameter."""
        operator = "NOT IN" if is_negated else "IN"
        listed = json.dumps(list(texts), ensure_ascii=False)
        test = f"{value.text} {operator} (SELECT value FROM json_each(?))"
        return Sql(test, (*value.params, listed))

    def is_one_of_numbers(
        self, value: Sql, numbers: Sequence[int | float], *, is_negated: bool
    ) -> Sql:
        """Not as JSON, which may round them."""
        operator = "NOT IN" if is_negated else "IN"
        marks = ",".join("?" * len(numbers))
        return Sql(f"{value.text} {operator} ({marks})", (*value.params, *numbers))

    def texts_table(self, texts: Sequence[str], alias: str) -> Sql:
        return Sql(f"json_each(?) {alias}", (json.dumps(list(texts), ensure_ascii=False),))

    def numbers_table(self, numbers: Sequence[int], alias: str) -> Sql:
        return Sql(f"json_each(?) {alias}", (json.dumps(list(numbers)),))

    def compare_whole(self, value: Sql, comparison: Comparison, number: int | float) -> Sql:
        return Sql(f"{value.text} {comparison} ?", (*value.params, number))

    def is_read_as_number(self, number: str) -> str:
        return f"typeof({number}) = 'real'"

    def prepared(
        self, connection: Connection, expression: ast.Expression | None, entity: Entity
    ) -> ast.Expression | None:
        return expression

    def matches(self, value: Sql, matching: Matching, pattern: str) -> Sql:
        match matching:
            case Matching.LIKE:
                return Sql(f"{value.text} GLOB ?", (*value.params, like_glob(pattern)))
            case Matching.ILIKE if pattern.isascii():
                return Sql(f"{value.text} LIKE ?", (*value.params, pattern))
            case Matching.ILIKE:
                # SQLite folds the case of ASCII letters only.
                return Sql(f"{ILIKE_FUNCTION}(?, {value.text})", (pattern, *value.params))
            case Matching.RLIKE:
                return Sql(f"{REGEX_FUNCTION}(?, {value.text})", (pattern, *value.params))


SQLITE: Final = SqliteDialect()
