"""Finding peers on the same network by multicast DNS, as the libp2p specification describes.

A host announces a service ``_p2p._udp.local`` whose TXT record lists its addresses, and hears of those of others.
What is heard comes from anybody on that network and proves nothing: it is text that looks like an address, bounded in
number and length, and handed on to be dialled, which proves who is there; whether that is a peer of this chain is told
by the handshake.

libp2p's own ``discovery.mdns`` writes into the peerstore from the thread of zeroconf, keeps what it hears without a
bound, and reads one address of each record. Here that thread only puts text into the event loop's queue.

Source: https://github.com/libp2p/specs/blob/master/discovery/mdns.md
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from zeroconf import Error as ZeroconfError
from zeroconf import InterfaceChoice, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

from node.host.interface import HostError

__all__ = ["SERVICE", "addresses_in", "announced", "neighbours"]

log = logging.getLogger(__name__)

SERVICE: Final = "_p2p._udp.local."
_KEY: Final = b"dnsaddr="

#: Addresses taken from one record, and the length of one string of a TXT record.
_ADDRESSES_MAX: Final = 8
_TEXT_SIZE_BYTES_MAX: Final = 255
#: How long a record is asked for once its name was heard.
_RECORD_TIMEOUT_MS: Final = 3_000


def addresses_in(text: bytes) -> tuple[str, ...]:
    """The addresses in a TXT record, which is a sequence of strings each preceded by its length; garbage is skipped."""
    found: dict[str, None] = {}
    at = 0
    while at < len(text) and len(found) < _ADDRESSES_MAX:
        part = text[at + 1 : at + 1 + text[at]]
        at += 1 + text[at]
        with contextlib.suppress(UnicodeDecodeError):
            address = part.removeprefix(_KEY).decode("ascii")
            if part.startswith(_KEY) and "/p2p/" in address and address.isprintable():
                found[address] = None
    return tuple(found)


def announced(addresses: Sequence[str], interfaces: Sequence[str]) -> tuple[str, ...]:
    """What to announce of the addresses listened on: a wildcard stands for every interface, loopback for nothing.

    Args:
        interfaces: IP addresses of this machine; those on which we announce.
    """
    found: dict[str, None] = {}
    for address in addresses:
        for wildcard, version in (("/ip4/0.0.0.0/", 4), ("/ip6/::/", 6)):
            if address.startswith(wildcard):
                rest = address.removeprefix(wildcard)
                same = [ip for ip in interfaces if ipaddress.ip_address(ip).version == version]
                found |= {f"/ip{version}/{ip}/{rest}": None for ip in same}
                break
        else:
            if address.split("/")[2] in interfaces:
                found[address] = None
    fitting = [address for address in found if len(address) + len(_KEY) <= _TEXT_SIZE_BYTES_MAX]
    return tuple(fitting[:_ADDRESSES_MAX])


class _Listener(ServiceListener):
    """Runs in a thread of zeroconf."""

    def __init__(self, hear: Callable[[tuple[str, ...]], None], own_name: str) -> None:
        self._hear = hear
        self._own_name = own_name

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        if name == self._own_name:
            return
        info = ServiceInfo(type_, name)
        try:
            info.request(zc, _RECORD_TIMEOUT_MS)  # false without a host's address record, which nobody needs here
        except ZeroconfError as error:
            log.debug("no record of %s: %s", name, error)  # zeroconf is being closed, or the machine is very busy
            return
        if addresses := addresses_in(info.text or b""):
            self._hear(addresses)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Nothing: whether a peer is there is told by its connection."""


@asynccontextmanager
async def neighbours(
    addresses: Sequence[str], found: Callable[[str], object], *, interfaces: Sequence[str] | None = None
) -> AsyncIterator[None]:
    """Announce addresses and hear of others inside the block.

    Args:
        addresses: of the host, with peer ids.
        found: called on the event loop with each address heard, again and again; must not block or raise.
        interfaces: IP addresses to use; None for all but loopback.

    Raises:
        HostError: multicast is not to be had on this machine.
    """
    token = trio.lowlevel.current_trio_token()
    name = f"{secrets.token_hex(16)}.{SERVICE}"

    def tell(heard: tuple[str, ...]) -> None:
        for address in heard:
            if address not in addresses:
                found(address)

    def hear(heard: tuple[str, ...]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(tell, heard)

    zeroconf, browser = await trio.to_thread.run_sync(_start, tuple(addresses), interfaces, name, hear)
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(_stop, zeroconf, browser)


def _start(
    addresses: tuple[str, ...], interfaces: Sequence[str] | None, name: str, hear: Callable[[tuple[str, ...]], None]
) -> tuple[Zeroconf, ServiceBrowser]:
    ips = tuple(_own_ips()) if interfaces is None else tuple(interfaces)
    strings = [_KEY + address.encode() for address in announced(addresses, ips)]
    chosen: Any = InterfaceChoice.Default if interfaces is None else list(interfaces)
    try:
        zeroconf = Zeroconf(interfaces=chosen)
    except OSError as error:
        raise HostError(f"no multicast DNS on this machine: {error}", hint="set network.mdns = false") from error
    browser = ServiceBrowser(zeroconf, SERVICE, listener=_Listener(hear, name))
    if strings:
        text = b"".join(bytes([len(string)]) + string for string in strings)
        server = f"{name.split('.', maxsplit=1)[0]}.local."
        packed = [ipaddress.ip_address(ip).packed for ip in ips]
        try:
            zeroconf.register_service(
                ServiceInfo(SERVICE, name, addresses=packed, port=0, properties=text, server=server)
            )
        except ZeroconfError as error:
            log.warning("this node may not be announced on its network: %s", error or "the machine is very busy")
    return zeroconf, browser


def _stop(zeroconf: Zeroconf, browser: ServiceBrowser) -> None:
    browser.cancel()
    with contextlib.suppress(ZeroconfError):
        zeroconf.unregister_all_services()
    zeroconf.close()


def _own_ips() -> list[str]:
    import ifaddr  # comes with zeroconf; only nodes with mDNS need it

    found = []
    for adapter in ifaddr.get_adapters():
        for each in adapter.ips:
            text = each.ip if isinstance(each.ip, str) else each.ip[0]
            if not ipaddress.ip_address(text).is_loopback and not ipaddress.ip_address(text).is_link_local:
                found.append(text)
    return found
