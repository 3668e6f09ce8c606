"""The part of a run's snapshot that this process knows by itself: packages, Python, the system.

    environment/requirements.txt   what is installed, as `pip install -r` takes it
    environment/python.json        Python, its implementation, the system

Found out once per process, as a hundred packages cost tens of milliseconds.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Final, NamedTuple

from tracker import masking

# Where the kinds of installations keep it; the last is a file that is itself the metadata.
_METADATA_NAMES: Final = ("METADATA", "PKG-INFO", "")

_found: dict[str, bytes] = {}


def contents() -> Mapping[str, bytes]:
    """The files by path; the same for every run of the process."""
    if not _found:
        _found.update(_look())
    return _found


def _look() -> dict[str, bytes]:
    about = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "executable": sys.executable,
    }
    return {
        "environment/requirements.txt": "".join(f"{line}\n" for line in _requirements()).encode(
            errors="backslashreplace"
        ),
        "environment/python.json": json.dumps(about, indent=2).encode(errors="backslashreplace"),
    }


def _requirements() -> list[str]:
    lines: dict[str, str] = {}
    unreadable = 0
    for distribution in metadata.distributions():
        try:
            package = _package(distribution)
        except (OSError, ValueError):
            package = None
        if package is None:
            unreadable += 1
        elif package.name.lower() not in lines:
            lines[package.name.lower()] = masking.mask_text(_requirement(package, distribution))
    listed = [lines[name] for name in sorted(lines)]
    if unreadable:
        listed.append(f"# and {unreadable} whose metadata cannot be read")
    return listed


class _Package(NamedTuple):
    name: str
    version: str


def _package(distribution: metadata.Distribution) -> _Package | None:
    """From the head of its metadata; the library's own parser reads the whole README, too."""
    for file_name in _METADATA_NAMES:
        text = distribution.read_text(file_name)
        if text:
            break
    else:
        return None
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if not line:
            break
        name, _, value = line.partition(":")
        fields.setdefault(name.lower(), value.strip())
    if not fields.get("name"):
        return None
    return _Package(fields["name"], fields.get("version", ""))


def _requirement(package: _Package, distribution: metadata.Distribution) -> str:
    """`name==version`, or where it was installed from, as `pip freeze` says it."""
    origin = distribution.read_text("direct_url.json")
    if origin:
        try:
            told = json.loads(origin)
            commit = told.get("vcs_info", {}).get("commit_id")
            if commit:
                return f"{package.name} @ {told['vcs_info']['vcs']}+{told['url']}@{commit}"
            return f"{package.name} @ {told['url']}"
        except (ValueError, KeyError, AttributeError):
            pass  # then its version is all there is to say
    return f"{package.name}=={package.version}"
