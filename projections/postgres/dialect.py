"""PostgreSQL's answers to what a compiled search asks of its database. See search.dialect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from projections.connection import Connection
from projections.postgres.patterns import resolved
from projections.postgres.regexes import as_postgres_regex
from projections.postgres.texts import escaped
from projections.search import ast
from projections.search.ast import Comparison, Matching
from projections.search.dialect import Dialect
from projections.search.entities_sqlite import Entity, order_text
from projections.search.sql_text import FALSE, TRUE, Sql, enclosed
from tracker.events.limits import INT64_MAX, INT64_MIN


class PostgresDialect:
    """The order of joins is kept by join_collapse_limit, see `readers`.

    Which side of a join is run first PostgreSQL would still choose by its statistics, and an
    EXISTS it would rather answer for all rows at once, also where few are asked for. What is
    in the way of that: an outer join, of which the condition says nothing that the planner
    understands, OFFSET 0, and both for a join that looks at what is on its left.
    """

    build = "current_schema()"
    ordered_join = " JOIN "
    rows_of_set_per_look = 4.0

    def run_join(self, run_no: str, *, is_of_run: bool) -> str:
        if is_of_run:  # the planner may see that both are one row
            return f"{self.ordered_join}run r ON r.run_no = {run_no}"
        return f" JOIN LATERAL (SELECT * FROM run r WHERE r.run_no = {run_no} OFFSET 0) r ON TRUE"

    def checked_join(self, row: Sql, alias: str, test: Sql) -> tuple[Sql, Sql]:
        passes = Sql(f"coalesce({alias}.run_no IS NOT NULL AND (") + test + Sql("), FALSE)")
        return Sql(" LEFT JOIN ") + row, passes

    def exists(self, found: Sql) -> Sql:
        return Sql("EXISTS ") + enclosed(found)

    def rows_passed_per_look(self, order: ast.Field) -> float:
        return 10.0

    def is_in_set(self, run_no: str, rows: Sql) -> Sql:
        """IS TRUE keeps the planner from making a join of it, and the array from estimating
        that the set might be too large to be hashed."""
        return Sql(f"({run_no} IN (SELECT unnest(ARRAY") + enclosed(rows) + Sql("))) IS TRUE")

    @property
    def for_few(self) -> Dialect:
        return _FOR_FEW

    def unestimated(self, condition: Sql) -> Sql:
        """Of what it does not understand the planner expects that every second row fulfils it."""
        if condition == TRUE:
            return TRUE
        return Sql("coalesce(") + condition + Sql(", FALSE)")

    def by_index(self, name: str) -> str:
        return ""

    def unoptimised(self, column: str) -> str:
        return column

    def beginning(self, column: str) -> str:
        return order_text(column)  # it comes with the row's key, see `layout`

    def stores_as_is(self, text: str) -> bool:
        return escaped(text) == text

    def is_one_of(self, value: Sql, texts: Sequence[str], *, is_negated: bool = False) -> Sql:
        operator = "<> ALL" if is_negated else "= ANY"
        return Sql(f"{value.text} {operator} (?::text[])", (*value.params, tuple(texts)))

    def is_one_of_numbers(
        self, value: Sql, numbers: Sequence[int | float], *, is_negated: bool
    ) -> Sql:
        operator = "<> ALL" if is_negated else "= ANY"
        floats = tuple(map(float, numbers))
        return Sql(f"{value.text} {operator} (?::float8[])", (*value.params, floats))

    def texts_table(self, texts: Sequence[str], alias: str) -> Sql:
        return Sql(f"unnest(?::text[]) AS {alias} (value)", (tuple(texts),))

    def numbers_table(self, numbers: Sequence[int], alias: str) -> Sql:
        return Sql(f"unnest(?::bigint[]) AS {alias} (value)", (tuple(numbers),))

    def compare_whole(self, value: Sql, comparison: Comparison, number: int | float) -> Sql:
        """In integers: PostgreSQL would round the column to a float to compare them."""
        if isinstance(number, float) and (math.isnan(number) or math.isinf(number)):
            return _beyond_all(value, comparison, is_above=number > 0)
        whole = math.floor(number)
        if whole != number:
            if comparison in (Comparison.EQ, Comparison.NE):
                return _always(value, is_true=comparison is Comparison.NE)
            # Between two integers: x > 1.5 is x > 1, and x >= 1.5 is x > 1.
            is_greater = comparison in (Comparison.GT, Comparison.GE)
            comparison = Comparison.GT if is_greater else Comparison.LE
        if not INT64_MIN <= whole <= INT64_MAX:
            return _beyond_all(value, comparison, is_above=whole > 0)
        return Sql(f"{value.text} {comparison} ?::bigint", (*value.params, whole))

    def is_read_as_number(self, number: str) -> str:
        return f"{number} IS NOT NULL"

    def prepared(
        self, connection: Connection, expression: ast.Expression | None, entity: Entity
    ) -> ast.Expression | None:
        return resolved(connection, expression, entity)

    def matches(self, value: Sql, matching: Matching, pattern: str) -> Sql:
        """Regular expressions that mean another thing here were replaced by lists before."""
        match matching:
            case Matching.LIKE:
                return Sql(f"{value.text} LIKE ? ESCAPE ''", (*value.params, pattern))
            case Matching.ILIKE:
                # Collation "C" folds the case of ASCII letters only, as SQLite does.
                return Sql(
                    f"{value.text} COLLATE \"C\" ILIKE ? ESCAPE ''", (*value.params, pattern)
                )
            case Matching.RLIKE:
                regex = as_postgres_regex(pattern)
                assert regex is not None, "others were replaced by `patterns.resolved`"
                return Sql(f'{value.text} COLLATE "C" ~ ?', (*value.params, regex))


class _ForFew(PostgresDialect):
    def exists(self, found: Sql) -> Sql:
        return super().exists(found + Sql(" OFFSET 0"))


_FOR_FEW: Final = _ForFew()


def _always(value: Sql, *, is_true: bool) -> Sql:
    """True or false of every value, and NULL of none, as comparisons are."""
    return Sql("(") + value + Sql(" IS NOT NULL AND ") + (TRUE if is_true else FALSE) + Sql(")")


def _beyond_all(value: Sql, comparison: Comparison, *, is_above: bool) -> Sql:
    """Compared with a number that is above (or below) every integer there is."""
    true_if_above = comparison in (Comparison.LT, Comparison.LE)
    true_if_below = comparison in (Comparison.GT, Comparison.GE)
    is_true = comparison is Comparison.NE or (true_if_above if is_above else true_if_below)
    return _always(value, is_true=is_true)


POSTGRES: Final = PostgresDialect()
