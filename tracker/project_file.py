"""`[tool.tracker]` in the nearest pyproject.toml: a project's own settings.

Keys: uri, experiment, spool_dir, mode. The nearest pyproject.toml upward of the working
directory is the project; one without the table sets nothing. A file that cannot be read
or parsed sets nothing either, as training must not fail for it; `tracker doctor` shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tracker.errors import InvalidSetting

FILE_NAME: Final = "pyproject.toml"
KEYS: Final = ("uri", "experiment", "spool_dir", "mode")

# A pyproject.toml is a few kilobytes; beyond this it is something else.
_FILE_BYTES_MAX: Final = 4 * 1024 * 1024


class ProjectFile(NamedTuple):
    path: Path
    values: Mapping[str, str]
    problem: str | None = None  # why the file sets nothing


_cache: dict[tuple[str, int], ProjectFile] = {}


def nearest() -> ProjectFile | None:
    """The project of the working directory, parsed once per version of its file."""
    try:
        folder = Path.cwd()
    except OSError:  # the working directory was removed
        return None
    for path in (each / FILE_NAME for each in (folder, *folder.parents)):
        try:
            changed_ns = path.stat().st_mtime_ns
        except OSError:
            continue
        key = (str(path), changed_ns)
        if key not in _cache:
            _cache.clear()
            _cache[key] = _parse(path)
        return _cache[key]
    return None


def _parse(path: Path) -> ProjectFile:
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_BYTES_MAX)
    except OSError as error:
        return ProjectFile(path, {}, f"cannot be read: {error}")
    if b"tracker" not in raw:  # spares most projects the import of a parser
        return ProjectFile(path, {})
    import tomllib

    try:
        table = tomllib.loads(raw.decode()).get("tool", {}).get("tracker", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError) as error:
        return ProjectFile(path, {}, f"cannot be parsed: {error}")
    if not isinstance(table, dict):
        raise InvalidSetting(f"{path}: [tool.tracker] must be a table")
    for name, value in table.items():
        if name not in KEYS:
            raise InvalidSetting(
                f"{path}: [tool.tracker] has no key {name!r}; there are {', '.join(KEYS)}"
            )
        if not isinstance(value, str) or not value:
            raise InvalidSetting(f"{path}: [tool.tracker] {name} must be a non-empty string")
    return ProjectFile(path, table)
