"""Hides what looks like a secret in a command line before it becomes a tag.

Three nets: a value whose name says what it is (--api-key=…, token=…, "password": …, also
with the value in the next argument), credentials in addresses, and the shapes of
well-known keys. A name is read by its words, so --max-tokens and --tokenizer stay.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MASK: Final = "***"

# Patterns are compiled when the first run starts: an import should not pay for them.
_SECRET_WORD = (
    r"(?:api[-_]?key|access[-_]?key|private[-_]?key|secret[-_]?key|auth[-_]?key|token|"
    r"secret|passwords?|passwd|passphrase|pwd|credentials?|authorization|bearer)"
    r"(?:[-_](?:id|value))?"
)
# From the last word of a name: what comes before it would be read again from each of its words.
_NAMED_VALUE = (
    rf"""(?<![A-Za-z0-9])({_SECRET_WORD}["']?\s*[=:]\s*["']?)"""
    r"""(?:bearer\s+)?([^\s"',;&}\]]+)"""
)
_SECRET_FLAG = rf"--?(?:[A-Za-z0-9]+[-_.])*{_SECRET_WORD}"
_URL_CREDENTIALS = r"://[^/\s@]+@"
_KNOWN_SHAPES = (
    r"\b(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|hf_\w{20,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|xox[abeprs]-[\w-]{10,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)


def mask_arguments(arguments: Sequence[str]) -> list[str]:
    masked: list[str] = []
    follows_secret_flag = False
    for argument in arguments:
        if follows_secret_flag and not argument.startswith("-"):
            masked.append(MASK)
        else:
            masked.append(mask_text(argument))
        follows_secret_flag = bool(re.fullmatch(_SECRET_FLAG, argument, re.IGNORECASE))
    return masked


def mask_text(text: str) -> str:
    text = re.sub(_URL_CREDENTIALS, f"://{MASK}@", text)
    text = re.sub(_NAMED_VALUE, rf"\1{MASK}", text, flags=re.IGNORECASE)
    return re.sub(_KNOWN_SHAPES, MASK, text)
