"""A piece of SQL with the parameters of its question marks, in order.

The only way texts from outside reach a database: as parameters. The pieces themselves are
written in this package.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

SqlValue: TypeAlias = int | float | str | Sequence[str] | Sequence[float] | None


class KeyId(int):
    """A parameter: the number of a key. See `keys_written`."""


@dataclass(frozen=True, slots=True)
class Sql:
    text: str
    params: tuple[SqlValue, ...] = ()

    def __add__(self, other: Sql) -> Sql:
        return Sql(self.text + other.text, self.params + other.params)


TRUE: Final = Sql("TRUE")
FALSE: Final = Sql("FALSE")
NOTHING: Final = Sql("")
ONE_PLAN: Final = "/* one plan */"
"""In a statement that is best run the same way whatever its parameters are, but for its keys."""


def join(separator: str, pieces: Iterable[Sql]) -> Sql:
    listed = list(pieces)
    return Sql(
        separator.join(piece.text for piece in listed),
        tuple(param for piece in listed for param in piece.params),
    )


def keys_written(text: str, params: Sequence[object]) -> tuple[str, list[object]]:
    """The same with the numbers of keys in its text, so that a plan knows how common each is."""
    first, *rest = text.split("?")
    written, others = [first], list[object]()
    for param, part in zip(params, rest, strict=True):
        if isinstance(param, KeyId):
            written.append(f"{int(param)}{part}")
        else:
            written.append(f"?{part}")
            others.append(param)
    return "".join(written), others


def enclosed(piece: Sql) -> Sql:
    return Sql(f"({piece.text})", piece.params)


def all_of(pieces: Iterable[Sql]) -> Sql:
    listed = [piece for piece in pieces if piece != TRUE]
    return join(" AND ", map(enclosed, listed)) if listed else TRUE


def any_of(pieces: Iterable[Sql]) -> Sql:
    return join(" OR ", map(enclosed, pieces))
