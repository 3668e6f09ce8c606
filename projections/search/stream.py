"""A cursor over tokens, with the error that names what was expected and what was found."""

from __future__ import annotations

from projections.search.errors import InvalidQuery
from projections.search.tokens import Token, TokenKind, tokenize


class TokenStream:
    """Reads one text front to back; the last token, END, is never passed."""

    def __init__(self, text: str) -> None:
        self._tokens = tokenize(text)
        self._at = 0

    def peek(self) -> Token:
        return self._tokens[self._at]

    def take(self) -> Token:
        token = self._tokens[self._at]
        if token.kind is not TokenKind.END:
            self._at += 1
        return token

    def take_keyword(self, keyword: str) -> bool:
        """Pass over `keyword` if it is next."""
        if self.peek().upper != keyword:
            return False
        self._at += 1
        return True

    def expect(self, kind: TokenKind, expected: str) -> Token:
        if self.peek().kind is not kind:
            raise self.unexpected(expected)
        return self.take()

    def unexpected(self, expected: str) -> InvalidQuery:
        token = self.peek()
        found = token.kind.value
        if token.kind in (TokenKind.WORD, TokenKind.NUMBER, TokenKind.DURATION):
            found = f"{token.text[:40]!r}"
        elif token.kind is TokenKind.COMPARISON:
            found = f"'{token.text}'"
        return InvalidQuery(f"expected {expected}, found {found}", position=token.column)
