"""docker-compose.yml as compose reads it: variables filled in, merges resolved, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import compose_spec
import yaml

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<how>[-?])(?P<text>[^}]*))?\}")


class VariableMissing(Exception):
    """The file asks for a variable that is not set; the text is what it tells people."""


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """${NAME}, ${NAME:-default} and ${NAME:?what to do}, as compose fills them in."""

    def value(match: re.Match[str]) -> str:
        given = variables.get(match["name"], "")
        if not given and match["how"] == "?":
            raise VariableMissing(f"{match['name']}: {match['text']}")
        return given or (match["text"] if match["how"] == "-" else "")

    return _VARIABLE.sub(value, text)


def compose_file(variables: Mapping[str, str]) -> dict[str, Any]:
    """The services by name. Raises what is wrong with the file by the compose specification."""
    text = interpolated((ROOT / "docker-compose.yml").read_text(encoding="utf-8"), variables)
    return checked(text)


def checked(text: str) -> dict[str, Any]:
    merged = yaml.safe_load(text)
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(merged)).to_spec()
    found: dict[str, Any] = merged
    return found
