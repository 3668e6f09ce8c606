"""Where the server listens, and whether it may. Imports next to nothing: it comes first."""

from __future__ import annotations

import ipaddress
import socket

from tracker.events.errors import TrackerError


class InvalidSettings(TrackerError):
    """The server cannot be started like this; the sentence says what to change."""


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_binding(host: str, *, has_key: bool, insecure: bool) -> None:
    """Raise InvalidSettings when other machines could reach a server without a key."""
    if not is_loopback(host) and not has_key and not insecure:
        raise InvalidSettings(
            f"host {host} can be reached from other machines: give the server a key with "
            "--api-key or TRACKER_API_KEY, or say --insecure to let everybody in"
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that does not block. Raises InvalidSettings."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host.strip("[]"), port), family=family, backlog=1024)
    except OSError as error:
        raise InvalidSettings(
            f"cannot listen on {host}:{port}: {error.strerror or error}; "
            "choose another --port or --host"
        ) from None
    listening.setblocking(False)
    return listening


def url_of(host: str, listening: socket.socket) -> str:
    name = host.strip("[]")
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{listening.getsockname()[1]}"
