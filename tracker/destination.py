"""Where records go: the chain of places that may say so, and what won.

    set_tracking_uri()  >  TRACKER_URI  >  MLFLOW_TRACKING_URI if it is http(s)
        >  [tool.tracker] uri in the nearest pyproject.toml  >  "local"

"local" means this machine: the spool keeps the data and a `tracker server` with the same
spool folder picks it up. A destination is never contacted here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tracker import config, project_file
from tracker.errors import InvalidUri

LOCAL: Final = "local"


class Destination(NamedTuple):
    uri: str
    source: str  # which link of the chain said so

    @property
    def is_local(self) -> bool:
        return self.uri == LOCAL


class Link(NamedTuple):
    """One link of the chain, for `tracker doctor`: what it says and whether it won."""

    source: str
    value: str | None
    won: bool
    note: str = ""


_chosen: str | None = None


def set_tracking_uri(uri: str | None) -> None:
    """Send what is logged from now on to `uri`: "local" or http(s)://host[:port][/prefix].

    Runs that are active keep their destination. Child processes inherit the choice through
    TRACKER_URI. None or "" goes back to what environment and project say. Raises
    InvalidUri.
    """
    global _chosen
    if not uri:
        if _chosen is not None:
            config.set_for_good(config.URI, None)
        _chosen = None
        return
    _chosen = parse_uri(uri, source="set_tracking_uri")
    config.set_for_good(config.URI, _chosen)


def get_tracking_uri() -> str:
    """The address that runs started now would be sent to, or "local"."""
    return destination().uri


def destination() -> Destination:
    """The first link of the chain that says something. Raises InvalidUri if it is wrong."""
    for source, value, note in _links():
        if value is not None and not note:
            return Destination(parse_uri(value, source=source), source)
    return Destination(LOCAL, "default")


def describe_chain() -> list[Link]:
    """Every link in order, with its value; exactly one has won, unless that one is invalid."""
    links: list[Link] = []
    won = False
    for source, value, note in [*_links(), ("default", LOCAL, "")]:
        wins = not won and value is not None and not note
        if wins:
            won = True
            try:
                parse_uri(value or "", source=source)
            except InvalidUri as error:
                note = str(error)
        links.append(Link(source, value, wins, note))
    return links


def parse_uri(uri: str, *, source: str) -> str:
    """`uri` in its plain form, without a trailing slash. Raises InvalidUri, naming `source`."""
    if not isinstance(uri, str):
        raise InvalidUri(
            f"{source}: a tracking URI is text such as 'http://host:5000' or 'local', "
            f"not {type(uri).__name__}"
        )
    text = uri.strip()
    if text.lower() == LOCAL:
        return LOCAL
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidUri(f"{source}: {_without_secret(text)!r} is no address: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidUri(
            f"{source}: {_without_secret(text)!r} is not a destination; use http://host:port, "
            "https://host or 'local' (a server stores to databases: "
            "`tracker server --backend-store-uri …`)"
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidUri(f"{source}: put the key into TRACKER_API_KEY, not into the address")
    if not host or port == 0 or any(c.isspace() or not c.isprintable() for c in text):
        raise InvalidUri(f"{source}: {text!r} names no host")
    if parts.query or parts.fragment:
        raise InvalidUri(f"{source}: {text!r} must not have a query or fragment")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _links() -> list[tuple[str, str | None, str]]:
    """(source, value, why it does not count) for all but the default."""
    mlflow = config.mlflow_uri()
    ignored = mlflow is not None and not mlflow.lower().startswith(("http://", "https://"))
    project = project_file.nearest()
    from_project = project.values.get("uri") if project else None
    where = str(project.path) if project else "no pyproject.toml"
    given = config.tracker_uri()
    if _chosen is not None and given == _chosen:
        given = None  # this process wrote it, for its children
    return [
        ("set_tracking_uri()", _chosen, ""),
        (config.URI, given, ""),
        ("MLFLOW_TRACKING_URI", mlflow, "ignored: not http(s)" if ignored else ""),
        (
            f"[tool.tracker] uri ({where})",
            from_project,
            (project.problem or "") if project else "",
        ),
    ]


def _without_secret(uri: str) -> str:
    """`uri` fit for a message: what stands before an @ may be a password."""
    head, separator, rest = uri.partition("://")
    if separator and "@" in rest:
        return f"{head}://***@{rest.rpartition('@')[2]}"
    return uri
