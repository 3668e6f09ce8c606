"""The client's settings: the only place beside the training that touches the environment.

Every value is read when it is asked for, so a notebook may change it. What a run writes
to the environment for its children (`hand_down`) is not read back by the process that
wrote it: `_env` answers what the process itself was given.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias, cast

from tracker import project_file
from tracker.errors import InvalidSetting
from tracker.events.ids import DEFAULT_WORKSPACE, is_run_id, is_workspace

Mode: TypeAlias = Literal["online", "offline", "disabled"]
Durability: TypeAlias = Literal["os", "fsync"]
ShipperHost: TypeAlias = Literal["helper", "thread", "none"]
SnapshotOf: TypeAlias = Literal["all", "environment", "none"]

MODES: Final = ("online", "offline", "disabled")
DURABILITIES: Final = ("os", "fsync")
SHIPPER_HOSTS: Final = ("helper", "thread", "none")
SNAPSHOTS: Final = ("all", "environment", "none")

URI: Final = "TRACKER_URI"
RUN_ID: Final = "TRACKER_RUN_ID"
RUN_OWNER: Final = "TRACKER_RUN_OWNER"
EXPERIMENT_NAME: Final = "TRACKER_EXPERIMENT_NAME"
EXPERIMENT_ID: Final = "TRACKER_EXPERIMENT_ID"
MODE: Final = "TRACKER_MODE"
SPOOL_DIR: Final = "TRACKER_SPOOL_DIR"

# 5 s is long enough for a healthy server far away, short enough to wait for by mistake.
EXIT_WAIT_S_DEFAULT: Final = 5.0

# A launcher's word for "which of its processes am I", the global ones first.
_RANK_NAMES: Final = (
    "RANK",
    "SLURM_PROCID",
    "OMPI_COMM_WORLD_RANK",
    "PMIX_RANK",
    "PMI_RANK",
    "MV2_COMM_WORLD_RANK",
    "JSM_NAMESPACE_RANK",
    "HOROVOD_RANK",
    "LOCAL_RANK",
)


class ClientSettings(NamedTuple):
    home: Path
    spool_dir: Path
    workspace: str
    mode: Mode
    durability: Durability
    shipper: ShipperHost
    exit_wait_s: float
    is_quiet: bool
    api_key: str | None
    snapshot: SnapshotOf = "all"


def client_settings() -> ClientSettings:
    """The settings as they stand now. Raises InvalidSetting, naming the variable."""
    return ClientSettings(
        home=home(),
        spool_dir=spool_dir(),
        workspace=workspace(),
        mode=mode(),
        durability=cast(Durability, _choice("TRACKER_DURABILITY", DURABILITIES, "os")),
        shipper=cast(ShipperHost, _choice("TRACKER_SHIPPER", SHIPPER_HOSTS, "helper")),
        exit_wait_s=_seconds("TRACKER_EXIT_WAIT_S", EXIT_WAIT_S_DEFAULT),
        is_quiet=_flag("TRACKER_QUIET"),
        api_key=api_key(),
        snapshot=cast(SnapshotOf, _choice("TRACKER_SNAPSHOT", SNAPSHOTS, "all")),
    )


def snapshot_of(asked: str | None, settings: ClientSettings) -> SnapshotOf:
    """What start_run(snapshot=…) says, else the settings. Raises InvalidSetting."""
    if asked is None:
        return settings.snapshot
    if asked not in SNAPSHOTS:
        raise InvalidSetting(f"snapshot is {asked!r}; it must be one of {', '.join(SNAPSHOTS)}")
    return cast(SnapshotOf, asked)


def home() -> Path:
    """The folder of everything tracker keeps for this user."""
    given = _env("TRACKER_HOME")
    if given:
        return Path(given).expanduser().absolute()
    try:
        return Path.home() / ".tracker"
    except RuntimeError:  # a container's user without HOME and without an entry in passwd
        import tempfile

        return Path(tempfile.gettempdir()) / f"tracker-{os.getuid()}"


def spool_dir() -> Path:
    """TRACKER_SPOOL_DIR, else the project's spool_dir, else one place per user."""
    given = _env(SPOOL_DIR)
    if given:
        return Path(given).expanduser().absolute()
    project = project_file.nearest()
    if project and "spool_dir" in project.values:
        return (project.path.parent / Path(project.values["spool_dir"]).expanduser()).absolute()
    return home() / "spool"


def workspace() -> str:
    """The unit of total order on the server: TRACKER_WORKSPACE, "default" if unset."""
    name = _env("TRACKER_WORKSPACE") or DEFAULT_WORKSPACE
    if not is_workspace(name):
        raise InvalidSetting(
            f"TRACKER_WORKSPACE is {name!r}: letters, digits, - and _, at most 64, are allowed"
        )
    return name


def api_key() -> str | None:
    return _env("TRACKER_API_KEY")


def mode() -> Mode:
    """How runs record unless start_run says otherwise."""
    project = project_file.nearest()
    default = project.values.get("mode", "online") if project else "online"
    given = _env(MODE)
    if given is None and project and "mode" in project.values:
        return parse_mode(default, source=f"{project.path}: [tool.tracker] mode")
    return parse_mode(given or "online", source=MODE)


def parse_mode(text: str, *, source: str) -> Mode:
    if text not in MODES:
        raise InvalidSetting(f"{source} is {text!r}; it must be one of {', '.join(MODES)}")
    return cast(Mode, text)


def tracker_uri() -> str | None:
    return _env(URI)


def mlflow_uri() -> str | None:
    return _env("MLFLOW_TRACKING_URI")


def experiment() -> tuple[str | None, str | None]:
    """(name, id) of the experiment that the environment or the project names, if any."""
    for prefix in ("TRACKER", "MLFLOW"):
        name = _env(f"{prefix}_EXPERIMENT_NAME")
        experiment_id = _env(f"{prefix}_EXPERIMENT_ID")
        if name or experiment_id:
            return name, experiment_id
    project = project_file.nearest()
    return (project.values.get("experiment") if project else None), None


def inherited_run() -> tuple[str | None, str | None]:
    """(run id, its owner as pid@host) that this process was given by whoever started it."""
    run_id = _env(RUN_ID)
    if run_id is not None and not is_run_id(run_id):
        raise InvalidSetting(
            f"{RUN_ID} is {run_id!r}: letters, digits, - and _, at most 256, are allowed"
        )
    return run_id, _env(RUN_OWNER)


def rank() -> int | None:
    """This process's place among those that a launcher started; None without one."""
    for name in _RANK_NAMES:
        given = _env(name)
        if given and given.isdecimal():
            return int(given)
    return None


def user_name() -> str:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        given = _env(name)
        if given:
            return given
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # Windows; a user id without an entry in a container
        return "unknown"


def notebook_name() -> str | None:
    """The notebook's file, as Jupyter tells its kernels."""
    return _env("JPY_SESSION_NAME")


# -- handing down ---------------------------------------------------------------------

# name -> what the variable was before this process wrote it for its children
_given: dict[str, str | None] = {}


def hand_down(values: Mapping[str, str]) -> None:
    """Write exactly these for child processes; what was handed down before is put back."""
    for name in [name for name in _given if name not in values]:
        _restore(name)
    for name, value in values.items():
        _given.setdefault(name, os.environ.get(name))
        os.environ[name] = value


def set_for_good(name: str, value: str | None) -> None:
    """Set a variable for this process and its children; None removes it."""
    _given.pop(name, None)
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def forget(name: str) -> None:
    """Do not put `name` back when a run ends: what it said has been used."""
    if name in _given:
        _given[name] = None
    else:
        os.environ.pop(name, None)


def take_over_in_child() -> None:
    """After a fork: what the parent handed down is what this process was given."""
    _given.clear()


def _restore(name: str) -> None:
    before = _given.pop(name)
    if before is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = before


def _env(name: str) -> str | None:
    """What this process was given; an empty variable is an unset one."""
    return (_given[name] if name in _given else os.environ.get(name)) or None


def _choice(name: str, allowed: tuple[str, ...], default: str) -> str:
    given = _env(name) or default
    if given not in allowed:
        raise InvalidSetting(f"{name} is {given!r}; it must be one of {', '.join(allowed)}")
    return given


def _seconds(name: str, default: float) -> float:
    given = _env(name)
    if given is None:
        return default
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 86_400:
        raise InvalidSetting(f"{name} is {given!r}; it must be a number of seconds, 0 to 86400")
    return seconds


def _flag(name: str) -> bool:
    given = (_env(name) or "0").lower()
    if given not in ("0", "1", "true", "false", "yes", "no"):
        raise InvalidSetting(f"{name} is {given!r}; it must be 1 or 0")
    return given in ("1", "true", "yes")
