"""Who may ask: the API key, the Host header, and where a browser's request comes from.

A key is kept and compared as its SHA-256 in constant time. The Host check is what stops a
web page from reaching a server on loopback under a name of its own (DNS rebinding); the
Origin check stops it from changing anything under the server's right name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Mapping
from typing import Final

from ingest.errors import ForbiddenHost, ForbiddenOrigin, Unauthorized
from ingest.settings import Settings

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """Decides from headers alone whether a request may come in."""

    def __init__(self, settings: Settings) -> None:
        self._key_sha256 = (
            hashlib.sha256(settings.api_key.encode()).digest() if settings.api_key else None
        )
        names = set(LOOPBACK_NAMES) | settings.extra_hosts
        if settings.is_wildcard:
            names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        else:
            names.add(settings.host.strip("[]").lower())
        self._hosts = frozenset(names)
        self._is_any_host = "*" in names
        self._are_addresses_hosts = settings.is_wildcard
        # A client repeats its headers; what was right once need not be taken apart again.
        self._known_host_headers: set[str] = set()

    def admit(self, method: str, headers: Mapping[str, str], *, is_open: bool) -> None:
        """Raise ForbiddenHost, ForbiddenOrigin or Unauthorized.

        `headers` are found by their names in lower case.
        """
        host = headers.get("host", "")
        if host not in self._known_host_headers:
            self._check_host(host)
        origin = headers.get("origin")
        if origin is not None and method not in _SAFE_METHODS:
            _check_origin(origin, host)
        if self._key_sha256 is not None and not is_open:
            self._check_key(headers.get("authorization", ""))

    def _check_host(self, header: str) -> None:
        name = _host_name(header)
        if not (self._is_any_host or name in self._hosts or self._is_own_address(name)):
            raise ForbiddenHost(
                f"this server does not go by the name {name[:100]!r}; "
                "start it with --allowed-hosts if that is one of its names",
                host=name[:100],
            )
        if len(self._known_host_headers) < 1000:
            self._known_host_headers.add(header)

    def _is_own_address(self, name: str) -> bool:
        # No DNS name can be made to look like a bare address.
        if not self._are_addresses_hosts:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _check_key(self, header: str) -> None:
        given = hashlib.sha256(_key_in(header)).digest()
        assert self._key_sha256 is not None
        if not hmac.compare_digest(given, self._key_sha256):
            raise Unauthorized("send the server's API key as 'Authorization: Bearer KEY'")


def _key_in(header: str) -> bytes:
    """The key of `Bearer KEY`, or the password of `Basic`, which MLflow's clients can send."""
    scheme, _, text = header.partition(" ")
    key = text.strip().encode(errors="surrogateescape")
    match scheme.lower():
        case "bearer":
            return key
        case "basic":
            try:
                return base64.b64decode(key, validate=True).partition(b":")[2]
            except binascii.Error:
                return b""
        case _:
            return b""


def _host_name(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    name, _, port = header.rpartition(":")
    return (name if name and port.isdecimal() else header).lower()


def _check_origin(origin: str, host: str) -> None:
    if origin.partition("://")[2].lower() != host.lower():
        raise ForbiddenOrigin(
            f"a page of {origin[:100]!r} may not change anything here", origin=origin[:100]
        )
