"""Text and dictionaries as the bytes of a file."""

from __future__ import annotations

import json
from typing import Any, Final

from tracker.events.errors import InvalidEvent

_YAML: Final = (".yaml", ".yml")


def text_bytes(text: str) -> bytes:
    if not isinstance(text, str):
        raise InvalidEvent(f"log_text takes text, not {type(text).__name__}")
    return text.encode(errors="backslashreplace")


def dict_bytes(dictionary: Any, name: str) -> bytes:
    """JSON, or YAML by the name's ending. Raises InvalidEvent for what neither can hold."""
    try:
        if name.lower().endswith(_YAML):
            return _yaml(dictionary)
        return json.dumps(dictionary, indent=2, default=_plain, ensure_ascii=False).encode(
            errors="backslashreplace"
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"{name} cannot be written: {error}") from None


def _yaml(dictionary: Any) -> bytes:
    try:
        import yaml
    except ImportError:
        raise InvalidEvent(
            "writing YAML needs the package pyyaml; `pip install pyyaml`, or name the file .json"
        ) from None
    plain = json.loads(json.dumps(dictionary, default=_plain))
    return bytes(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode())


def _plain(value: Any) -> Any:
    """Scalars and arrays of numpy's kind, sets, paths; as MLflow, anything else as its text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return str(value)
