"""The few multiaddresses people type, checked without a network library: host, TCP port, nothing else.

Source: multiformats/multiaddr. ``/ip4/127.0.0.1/tcp/4610``, ``/ip6/::1/tcp/4610``, ``/dns4/node.example/tcp/4610``.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from pdfedchain.errors import UsageError

__all__ = ["HostPort", "free_ports", "parse_multiaddress"]


@dataclass(frozen=True, slots=True)
class HostPort:
    """Parts of a multiaddress: ``protocol`` is ip4, ip6, dns, dns4 or dns6."""

    protocol: str
    host: str
    port: int

    @property
    def is_wildcard(self) -> bool:
        """Whether it listens on every interface, so that nobody can dial it as it stands."""
        return self.protocol.startswith("ip") and ipaddress.ip_address(self.host).is_unspecified


def parse_multiaddress(text: str, where: str) -> HostPort:
    """Take apart ``/PROTOCOL/HOST/tcp/PORT``.

    Args:
        where: option or key it comes from, for errors.

    Raises:
        UsageError: it is anything else, or the port is not in 1 to 65535.
    """
    wanted = f"{where} must look like /ip4/127.0.0.1/tcp/4610, found {text[:200]!r}"
    parts = text.split("/")
    if len(parts) != 5 or parts[0] or parts[3] != "tcp" or not parts[2]:
        raise UsageError(wanted)
    protocol, host, port_text = parts[1], parts[2], parts[4]
    if not (port_text.isascii() and port_text.isdigit() and 1 <= int(port_text) <= 65_535):
        raise UsageError(f"{wanted}: the port must be 1 to 65535")
    if protocol in ("ip4", "ip6"):
        try:
            version = ipaddress.ip_address(host).version
        except ValueError as error:
            raise UsageError(f"{wanted}: {error}") from error
        if f"ip{version}" != protocol:
            raise UsageError(f"{wanted}: {host} is an IPv{version} address")
    elif protocol not in ("dns", "dns4", "dns6"):
        raise UsageError(f"{wanted}: unknown protocol {protocol!r}")
    return HostPort(protocol, host, int(port_text))


def free_ports(count: int) -> tuple[int, ...]:
    """Distinct TCP ports that are free on loopback at this moment; another program may take one before we do."""
    sockets = []
    try:
        for _ in range(count):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sockets.append(listener)
            listener.bind(("127.0.0.1", 0))
        return tuple(listener.getsockname()[1] for listener in sockets)
    finally:
        for listener in sockets:
            listener.close()
