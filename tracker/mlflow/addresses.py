"""What a tracking URI of the plugin's schemes means, and where its server answers.

tracker+http://host:5000    that server; what is logged waits in the spool meanwhile
tracker+https://host        the same over TLS
tracker://                  this machine; a server is started when something is asked
"""

from __future__ import annotations

import time
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import Final

from tracker import config, local_server
from tracker.destination import LOCAL, parse_uri
from tracker.errors import InvalidUri
from tracker.refusals import LocalServerMissing

PREFIX: Final = "tracker+"
LOCAL_SCHEME: Final = "tracker://"

# A server that did not answer is not asked again for so long; one that did, is trusted for
# so long. A program that reads in a loop must not wait for every read.
_TRUSTED_FOR_S: Final = 5.0
_LOOK_TIMEOUT_S: Final = 2.0


def destination_of(tracking_uri: str) -> str:
    """Where the spool's records go: "local" or an http(s) address. Raises InvalidUri."""
    if tracking_uri.startswith(PREFIX):
        return parse_uri(tracking_uri.removeprefix(PREFIX), source="MLflow's tracking URI")
    if tracking_uri.startswith(LOCAL_SCHEME):
        rest = tracking_uri.removeprefix(LOCAL_SCHEME).strip("/")
        if rest:
            raise InvalidUri(
                f"MLflow's tracking URI {tracking_uri!r}: tracker:// is this machine and takes "
                "no host; use tracker+http://host:port for a server"
            )
        return LOCAL
    raise InvalidUri(
        f"MLflow's tracking URI {tracking_uri!r} is none of the plugin's: use "
        "tracker+http://host:port, tracker+https://host or tracker://"
    )


class Server:
    """The server of a destination, asked only while it answers. Threads may share it: what two
    of them find at once is the same."""

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self._address: str | None = None
        self._known_until = 0.0

    def address(self) -> str | None:
        """Its http(s) address; None while it does not answer. Blocks for seconds at most."""
        if time.monotonic() >= self._known_until:
            self._address = self._look()
            self._known_until = time.monotonic() + _TRUSTED_FOR_S
        return self._address

    def name(self) -> str:
        """An address for messages and for requests that need one, whether it answers or not."""
        return self._address or self.destination

    def is_gone(self) -> None:
        """A request has failed: ask nothing more for a while."""
        self._address = None
        self._known_until = time.monotonic() + _TRUSTED_FOR_S

    def _look(self) -> str | None:
        if self.destination != LOCAL:
            return self.destination if _answers(self.destination) else None
        try:
            return local_server.ensure_running(config.client_settings().home)
        except LocalServerMissing:
            return None


def _answers(address: str) -> bool:
    """Whether a server answers there, by the machine's proxies and certificates."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=_LOOK_TIMEOUT_S) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (OSError, HTTPException, ValueError):
        return False
