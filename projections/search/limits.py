"""The limits of the search language, each with its reason."""

from __future__ import annotations

from typing import Final

# The HTTP schema refuses longer ones too. It holds 1,900 quoted run ids in one IN list.
FILTER_CHARACTERS_MAX: Final = 65_536
# Parser, compiler and SQLite's own expression tree (1,000) all recurse.
DEPTH_MAX: Final = 50
# One subquery each; SQLite allows 500 terms in a compound and plans 200 in a millisecond.
PREDICATES_MAX: Final = 200
IN_ITEMS_MAX: Final = 10_000
# LIKE and regular expressions: RE2 answers in linear time, but per pattern it has memory.
PATTERN_CHARACTERS_MAX: Final = 1_000
REGEX_MEMORY_BYTES_MAX: Final = 4 * 1024 * 1024
# Each keyed term is a join, of which SQLite allows 64.
ORDER_TERMS_MAX: Final = 32
PAGE_RUNS_MAX: Final = 50_000
# A page ends early, with a token, when its runs hold more params, metrics and tags than
# this: about 60 MB in the server and 25 MB of JSON.
PAGE_ENTRIES_MAX: Final = 100_000
# Params and tags are ordered by this many characters: the width of their indexes. It also
# bounds a page token.
ORDER_CHARACTERS_MAX: Final = 128
PAGE_TOKEN_CHARACTERS_MAX: Final = 65_536
# 64-bit microseconds reach beyond the year 290,000.
MICROSECONDS_MAX: Final = 2**62
