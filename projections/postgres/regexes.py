"""Regular expressions that mean the same to RE2 and to PostgreSQL, and how they are written.

The search language has RE2's expressions. PostgreSQL's differ in a dozen ways (what a dot
matches, escapes, flags, classes), so only what is certainly the same is handed over: plain
characters, dots, anchors, groups, alternatives, simple classes and single quantifiers. Which
text is matched, and how far, does not matter here, only whether one is.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_ATOM: Final = re.compile(
    r"(?P<literal>[\w\s/:=,;@#%&~!\"'<>-])"
    r"|\\(?P<quoted>[.+*?()\[\]{}|^$\\/-])"
    r"|\\(?P<class>[dwD])"
    r"|(?P<dot>\.)"
    r"|\[(?P<negated>\^?)(?P<set>(?:[A-Za-z0-9_ ,:/.](?:-[A-Za-z0-9])?)+)\]"
)
_QUANTIFIER: Final = re.compile(r"[*+?]|\{[0-9]{1,2}(?:,[0-9]{0,2})?\}")
_CLASSES: Final = {"d": "[0-9]", "w": "[0-9A-Za-z_]", "D": "[^0-9]"}
_SPECIAL: Final = frozenset(".+*?()[]{}|^$\\")


@lru_cache(maxsize=256)
def as_postgres_regex(pattern: str) -> str | None:
    """The same for PostgreSQL, or None where that is not certain."""
    written: list[str] = []
    at, depth = 0, 0
    is_atom = False  # something that a quantifier may follow
    is_empty = True  # nothing of the present alternative yet
    while at < len(pattern):
        character = pattern[at]
        if found := _QUANTIFIER.match(pattern, at):
            if not is_atom:
                return None
            written.append(found.group())
            at, is_atom = found.end(), False
            continue
        if character in "(|)":
            if character != "(" and is_empty:
                return None
            depth += {"(": 1, ")": -1, "|": 0}[character]
            if depth < 0 or pattern.startswith("(?", at):
                return None
            written.append("(?:" if character == "(" else character)
            is_atom, is_empty, at = character == ")", character != ")", at + 1
            continue
        if character in "^$":
            written.append(character)
            is_atom, is_empty, at = False, False, at + 1
            continue
        found = _ATOM.match(pattern, at)
        if found is None:
            return None
        atom = _atom(found)
        if atom is None:
            return None
        written.append(atom)
        is_atom, is_empty, at = True, False, found.end()
    if depth or is_empty:
        return None
    # Three asterisks at the start would say how to read the rest.
    return "".join(written)


def _atom(found: re.Match[str]) -> str | None:
    if (literal := found.group("literal")) is not None:
        return literal
    if (quoted := found.group("quoted")) is not None:
        return f"\\{quoted}" if quoted in _SPECIAL else quoted
    if (class_ := found.group("class")) is not None:
        return _CLASSES[class_]
    if found.group("dot") is not None:
        return "[^\n]"
    members = found.group("set")
    if any(first > last for first, last in re.findall(r"(.)-(.)", members)):
        return None
    return f"[{found.group('negated')}{members}]"
