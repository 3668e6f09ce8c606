"""Programs that only Debian packages carry: the machine's own, or unpacked beside the tests.

Nothing is installed: `apt-get download` and `dpkg-deb -x` need no root and start no service.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Program:
    path: Path
    environment: dict[str, str]


def debian_program(name: str, *, packages: Sequence[str]) -> Program:
    """`name` from PATH, else from `packages`. Fails with what to install."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    installed = shutil.which(name, path=places)
    if installed:
        return Program(Path(installed), dict(os.environ))
    root = Path(sys.prefix) / "debian" / name
    if not root.exists():
        _unpack(packages, root, name)
    libraries = ":".join(str(path) for path in root.glob("usr/lib/*-linux-gnu"))
    path = next(root.glob(f"usr/*bin/{name}"))
    return Program(path, os.environ | {"LD_LIBRARY_PATH": libraries})


def _unpack(packages: Sequence[str], root: Path, name: str) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as work:
        download = ["apt-get", "download", "-o", "APT::Sandbox::User=root", *packages]
        has_apt = shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None
        if has_apt and _run(download, work) != 0 and os.getuid() == 0:
            _run(["apt-get", "update"], work)
            _run(download, work)
        files = sorted(Path(work).glob("*.deb"))
        assert len(files) == len(packages), (
            f"the tests need {name}: install it ({', '.join(packages)} in Debian)"
        )
        unpacked = Path(work) / "root"
        for file in files:
            assert _run(["dpkg-deb", "-x", str(file), str(unpacked)], work) == 0
        if not root.exists():  # another worker may have been quicker
            unpacked.rename(root)


def _run(command: Sequence[str], folder: str) -> int:
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode
