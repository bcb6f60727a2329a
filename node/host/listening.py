"""Listening on TCP, mended.

libp2p 0.8.1 sets SO_REUSEPORT, so a second node takes the same port without an error and gets half the connections.
Here a port that is taken is an error. And connections from an address that is barred are closed before anything is made
for them: who is barred dials again and again.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

import trio
from libp2p.abc import IListener
from libp2p.io.trio import TrioTCPStream
from libp2p.transport.tcp.tcp import TCP
from libp2p.utils.multiaddr_utils import extract_ip_from_multiaddr, multiaddr_from_socket
from multiaddr import Multiaddr

__all__ = ["ExclusiveTcp"]


class ExclusiveListener(IListener):  # type: ignore[misc]
    """Listens on TCP and fails where somebody else does."""

    #: Set by the swarm before `listen`.
    background_nursery: trio.Nursery

    def __init__(self, handler: Callable[[Any], Any], transport: ExclusiveTcp) -> None:
        self._handler = handler
        self._transport = transport
        self._listeners: Sequence[trio.SocketListener] = ()
        self._scope = trio.CancelScope()

    async def listen(self, maddr: Multiaddr) -> None:
        """Bind and serve in the swarm's background.

        Raises:
            OSError: the address cannot be bound; also kept in `ExclusiveTcp.listen_error`, since the swarm drops it.
        """
        try:
            self._listeners = await trio.open_tcp_listeners(
                int(maddr.value_for_protocol("tcp")), host=extract_ip_from_multiaddr(maddr)
            )
        except OSError as error:
            self._transport.listen_error = error
            raise
        await self.background_nursery.start(self._serve)

    async def _serve(self, *, task_status: Any) -> None:
        with self._scope:
            await trio.serve_listeners(self._accept, self._listeners, task_status=task_status)

    async def _accept(self, stream: trio.SocketStream) -> None:
        try:
            is_refused = self._transport.refuses(stream.socket.getpeername()[0])
        except OSError:
            is_refused = True  # gone already
        if is_refused:
            stream.socket.close()
        else:
            await self._handler(TrioTCPStream(stream))

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """What is listened on."""
        return tuple(multiaddr_from_socket(listener.socket) for listener in self._listeners)

    async def close(self) -> None:
        """Stop accepting, and end what was accepted."""
        self._scope.cancel()
        for listener in self._listeners:
            await listener.aclose()


class ExclusiveTcp(TCP):  # type: ignore[misc]
    """TCP whose listeners share their port with nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.listen_error: OSError | None = None
        #: Whether connections from an IP address are closed before anything is made for them; set by the swarm.
        self.refuses: Callable[[str], bool] = lambda ip: False

    def create_listener(self, handler_function: Callable[[Any], Any]) -> ExclusiveListener:
        """A listener that calls ``handler_function`` with each accepted socket."""
        return ExclusiveListener(handler_function, self)

    @property
    def port_taken(self) -> bool:
        """Whether listening failed because another program listens there."""
        error = self.listen_error
        return error is not None and errno.EADDRINUSE in (error.errno, getattr(error.__cause__, "errno", None))
