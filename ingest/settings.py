"""Everything the server can be told, once, frozen: from flags, TRACKER_… variables, defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingest.artifact_stores.destination import parse_destination
from ingest.binding import InvalidSettings, check_binding, is_loopback
from tracker.events.ids import DEFAULT_WORKSPACE, is_workspace

SQLITE_PREFIX: Final = "sqlite:///"
MEMORY_URI: Final = "memory://"
POSTGRES_PREFIXES: Final = ("postgresql://", "postgres://")


class Settings(BaseSettings):
    """Flags win over the environment, the environment over the defaults."""

    model_config = SettingsConfigDict(env_prefix="TRACKER_", frozen=True, extra="ignore")

    home: Path = Field(default_factory=lambda: Path.home() / ".tracker")
    backend_store_uri: str = Field("", repr=False)  # it may hold a password
    artifacts_destination: str = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 5000
    spool_dir: Path | None = None
    workspace: str = DEFAULT_WORKSPACE
    api_key: str | None = Field(None, repr=False)
    insecure: bool = False
    allowed_hosts: str = Field("", description="comma-separated Host headers to accept")
    artifacts_only: bool = False
    serve_artifacts: bool = True
    idle_exit_s: Annotated[float, Field(gt=0)] | None = None

    in_flight_bytes_max: Annotated[int, Field(ge=32 * 1024 * 1024)] = 64 * 1024 * 1024
    lease_ttl_s: Annotated[float, Field(gt=0)] = 30.0
    long_poll_s_max: Annotated[float, Field(gt=0)] = 60.0
    heartbeat_s: Annotated[float, Field(gt=0)] = 15.0
    postgres_pool_max: Annotated[int, Field(ge=2)] = 8
    postgres_statement_timeout_s: Annotated[float, Field(gt=0)] = 15.0
    # A database that starts together with its servers takes a moment longer than they do.
    postgres_wait_s: Annotated[float, Field(ge=0)] = 60.0
    # Of the 5 s that a stop may take; the rest is for the last commit and the projections.
    drain_s: Annotated[float, Field(gt=0)] = 2.0

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: Any) -> Any:
        """An empty variable is an unset one."""
        if isinstance(values, dict):
            return {name: value for name, value in values.items() if value not in ("", None)}
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not is_workspace(self.workspace):
            raise ValueError(
                f"workspace {self.workspace!r}: letters, digits, - and _, at most 64, are allowed"
            )
        parse_destination(self.artifacts_uri)
        if self.artifacts_only and not self.serve_artifacts:
            raise ValueError(
                "--artifacts-only and --no-serve-artifacts leave nothing to serve; give one"
            )
        check_binding(self.host, has_key=self.api_key is not None, insecure=self.insecure)
        return self

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def is_wildcard(self) -> bool:
        return self.host in ("", "0.0.0.0", "::", "[::]")

    @property
    def server_folder(self) -> Path:
        return self.home.expanduser().absolute() / "server"

    @property
    def opens_log(self) -> bool:
        """A server for artifacts only has a log when it is told which."""
        return not self.artifacts_only or self.backend_store_uri != ""

    @property
    def store_uri(self) -> str:
        return self.backend_store_uri or f"{SQLITE_PREFIX}{self.server_folder / 'tracker.db'}"

    @property
    def postgres_uri(self) -> str | None:
        """The log's database; None when the log is no PostgreSQL."""
        return self.store_uri if self.store_uri.startswith(POSTGRES_PREFIXES) else None

    @property
    def store_kind(self) -> Literal["sqlite", "postgresql", "memory"]:
        if self.postgres_uri is not None:
            return "postgresql"
        return "memory" if self.store_uri == MEMORY_URI else "sqlite"

    @property
    def store_label(self) -> str:
        """The store's URI as it may be shown: without password and options."""
        uri = self.store_uri
        if not uri.startswith(POSTGRES_PREFIXES):
            return uri
        scheme, _, rest = uri.partition("://")
        place = rest.partition("?")[0]
        user, at, where = place.rpartition("@")
        return f"{scheme}://{user.partition(':')[0]}{at}{where}"

    @property
    def artifacts_uri(self) -> str:
        return self.artifacts_destination or str(self.server_folder / "artifacts")

    @property
    def spool_folder(self) -> Path:
        if self.spool_dir is not None:
            return self.spool_dir.expanduser().absolute()
        return self.home.expanduser().absolute() / "spool"

    @property
    def store_path(self) -> Path | None:
        """The log database's file; None for a store that is none. Raises InvalidSettings."""
        uri = self.store_uri
        if uri == MEMORY_URI or self.postgres_uri is not None:
            return None
        path = uri.removeprefix(SQLITE_PREFIX)
        if path == uri or not path:
            raise InvalidSettings(
                f"--backend-store-uri {_scheme_of(uri)!r} is not supported: use sqlite:///PATH "
                "(four slashes for an absolute path) or postgresql://USER:PASSWORD@HOST/NAME"
            )
        return Path(path).expanduser().absolute()

    @property
    def extra_hosts(self) -> frozenset[str]:
        return frozenset(h.strip().lower() for h in self.allowed_hosts.split(",") if h.strip())


def _scheme_of(uri: str) -> str:
    """What may be repeated of a URI that is not understood: it may hold a password."""
    scheme, separator, _ = uri.partition("://")
    return f"{scheme}{separator}…" if separator else uri


def load_settings(**given: Any) -> Settings:
    """Settings from what flags gave and the environment. Raises InvalidSettings."""
    from pydantic import ValidationError

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise InvalidSettings(where + first["msg"].removeprefix("Value error, ")) from None
