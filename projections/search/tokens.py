"""The words of the search language, each with the column it begins at.

A word may hold any character that is not a space, a quote, a comparison sign, a comma or
a parenthesis, so `metrics.val/loss-2` needs no quotes. A quote is doubled to stand for
itself ('it''s'); a backslash is an ordinary character.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from projections.search.errors import InvalidQuery
from projections.search.limits import FILTER_CHARACTERS_MAX


class TokenKind(StrEnum):
    WORD = "a word"
    TEXT = "a text in single quotes"
    QUOTED = "a text in double quotes"
    BACKTICKED = "a name in backticks"
    NUMBER = "a number"
    DURATION = "a duration"
    COMPARISON = "a comparison"
    OPEN = "'('"
    CLOSE = "')'"
    COMMA = "','"
    DOT = "'.'"
    PLUS = "'+'"
    MINUS = "'-'"
    END = "the end of the text"


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is what it means: quotes taken off, doubled quotes made single."""

    kind: TokenKind
    text: str
    column: int
    end: int  # the column after its last character

    @property
    def upper(self) -> str:
        """The word as a keyword, or '' for anything else."""
        return self.text.upper() if self.kind is TokenKind.WORD else ""


_NOT_TEXT: Final = re.compile("[\0\ud800-\udfff]")
# Possessive throughout: what a part has taken it does not give back, so that no text, however
# odd, takes longer than in proportion to its length.
DURATION: Final = r"(?:[0-9]++(?:\.[0-9]++)?(?:us|ms|[smhdw]))++"
_SPACE: Final = re.compile(r"\s*")
_PATTERNS: Final = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (TokenKind.TEXT, r"'((?:[^']++|'')*+)'"),
        (TokenKind.QUOTED, r'"((?:[^"]++|"")*+)"'),
        (TokenKind.BACKTICKED, r"`((?:[^`]++|``)*+)`"),
        (TokenKind.COMPARISON, r"([<>!=]=|<>|[<>=])"),
        (TokenKind.OPEN, r"(\()"),
        (TokenKind.CLOSE, r"(\))"),
        (TokenKind.COMMA, r"(,)"),
        (TokenKind.DURATION, rf"([+-]?{DURATION})(?![\w.])"),
        (
            TokenKind.NUMBER,
            r"([+-]?(?:(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
            r"|(?i:inf(?:inity)?)))(?![\w.])",
        ),
        (TokenKind.WORD, r"([^\W0-9][^\s'\"`<>!=(),;]*)"),
        (TokenKind.DOT, r"(\.)"),
        (TokenKind.PLUS, r"(\+)"),
        (TokenKind.MINUS, r"(-)"),
    )
)
_QUOTES: Final = {TokenKind.TEXT: "'", TokenKind.QUOTED: '"', TokenKind.BACKTICKED: "`"}


def tokenize(text: str) -> list[Token]:
    """The tokens of `text`, END last; InvalidQuery at the first character that begins none."""
    if len(text) > FILTER_CHARACTERS_MAX:
        raise InvalidQuery(
            f"the text has {len(text)} characters; "
            f"at most {FILTER_CHARACTERS_MAX} are allowed (filter_characters_max)"
        )
    _check_characters(text)
    tokens: list[Token] = []
    at = _skip_space(text, 0)
    while at < len(text):
        token = _token_at(text, at)
        tokens.append(token)
        at = _skip_space(text, token.end - 1)
    tokens.append(Token(TokenKind.END, "", len(text) + 1, len(text) + 1))
    return tokens


def _check_characters(text: str) -> None:
    """No store holds a NUL or a lone surrogate in a text; refuse them where they are."""
    found = _NOT_TEXT.search(text)
    if found is not None:
        raise InvalidQuery(
            f"the character {found.group()!r} is not text", position=found.start() + 1
        )


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _token_at(text: str, at: int) -> Token:
    for kind, pattern in _PATTERNS:
        found = pattern.match(text, at)
        if found is not None:
            content = found.group(1)
            quote = _QUOTES.get(kind)
            if quote is not None:
                content = content.replace(quote + quote, quote)
            return Token(kind, content, at + 1, found.end() + 1)
    if text[at] in "'\"`":
        raise InvalidQuery(f"the quote {text[at]} is not closed", position=at + 1)
    if text[at].isdigit() or text[at] in "+-.":
        raise InvalidQuery(
            "this is neither a number nor a duration",
            position=at + 1,
            hint="write 0.5, 1e-3, 90s or 1h30m, and put text in single quotes",
        )
    raise InvalidQuery(f"the character {text[at]!r} has no meaning here", position=at + 1)
