"""What must stay true of the sources themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("tracker", "projections", "ingest")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SDK_FORBIDDEN = ("numpy", "pydantic", "orjson", "aiosqlite", "prometheus_client")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """(module imported, whether at the top level of the file)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(ast.iter_child_nodes(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in top
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node in top


def is_below(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_point_from_skins_to_facts(path: Path) -> None:
    module = module_of(path)
    for imported, _ in imports_of(path):
        if is_below(module, "tracker.events"):
            allowed = is_below(imported, "tracker.events") or not imported.startswith(PACKAGES)
        elif is_below(module, "projections"):
            allowed = not is_below(imported, "ingest") and (
                not is_below(imported, "tracker") or is_below(imported, "tracker.events")
            )
        elif is_below(module, "ingest"):
            allowed = not is_below(imported, "tracker.cli")
        elif is_below(module, "tracker.cli") or is_below(module, "tracker.demo"):
            allowed = True
        else:
            allowed = not is_below(imported, "ingest") and not is_below(imported, "projections")
        assert allowed, f"{module} imports {imported}"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_the_command_line_reaches_the_server_side_only_inside_commands(path: Path) -> None:
    module = module_of(path)
    if not is_below(module, "tracker"):
        return
    at_top = {imported for imported, is_top in imports_of(path) if is_top}
    reached = {name for name in at_top if name.split(".")[0] in ("ingest", "projections")}
    assert not reached, f"{module} imports {reached} at the top"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_the_sdk_needs_nothing_that_only_servers_have(path: Path) -> None:
    module = module_of(path)
    if not is_below(module, "tracker") or module.startswith(("tracker.cli", "tracker.demo")):
        return
    needed = {i for i, is_top in imports_of(path) if is_top and i.split(".")[0] in SDK_FORBIDDEN}
    assert not needed, f"{module} imports {needed}"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_the_environment_is_read_in_config_files_only(path: Path) -> None:
    if path.name in ("config.py", "settings.py"):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in ("getenv", "environb"):
            pytest.fail(f"{module_of(path)}:{node.lineno} reads the environment")
