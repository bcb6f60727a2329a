"""Streams of a libp2p host, straight on yamux."""

from __future__ import annotations

import logging
from typing import Final

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.stream.net_stream import NetStream
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError

from node.host.framing import FrameStream, Part
from node.host.interface import StreamClosed
from node.host.yamux import (
    DEFAULT_WINDOW_SIZE,
    QueuedYamux,
    WindowWatch,
    grant_room,
    write_now,
)
from node.host.yamux_reading import take_arrived, take_rest, wait_arrived

__all__ = ["BROKEN", "Libp2pStream"]

log = logging.getLogger(__name__)

#: What a peer may send ahead of us on one stream once it sends much: 40 MB/s at a round trip of 50 ms.
_WINDOW_SIZE_BYTES: Final = 2_097_152

#: Room is reported in steps of half the first window, and later of a quarter of the larger one.
_ROOM_STEP_FIRST_SIZE_BYTES: Final = DEFAULT_WINDOW_SIZE // 2
_ROOM_STEP_SIZE_BYTES: Final = _WINDOW_SIZE_BYTES // 4

#: What libp2p raises when a connection or a stream is no more.
BROKEN: Final = (BaseLibp2pError, OSError, trio.ClosedResourceError, trio.BrokenResourceError)


class Libp2pStream(FrameStream):
    """A stream straight on yamux.

    `NetStream.write` resets after five seconds without a window, which a busy peer may well need.
    `NetStream.read` loses what it has read if it is cancelled while it reports room, reports room after
    every read, and doubles the window for reading a few bytes quickly.
    """

    def __init__(self, net: NetStream, protocol: str) -> None:
        super().__init__(str(net.muxed_conn.peer_id), protocol)
        self._net = net
        self._muxed = net.muxed_stream
        self._window = WindowWatch(net.muxed_stream)
        self._room_owed = 0
        self._room_extra = _WINDOW_SIZE_BYTES - DEFAULT_WINDOW_SIZE
        self._room_step = _ROOM_STEP_FIRST_SIZE_BYTES

    @property
    def muxed_conn(self) -> QueuedYamux:
        """The connection that it belongs to."""
        connection: QueuedYamux = self._muxed.conn
        return connection

    def _write_now(self, data: bytes | memoryview) -> bool:
        self._check_writable()
        try:
            return write_now(self._muxed, data)
        except BROKEN as error:
            raise StreamClosed(self.peer_id, reason=str(error)) from error

    async def _write(self, data: bytes | memoryview) -> None:
        start = 0
        while start < len(data):
            self._check_writable()
            room = min(self._muxed.send_window, self._muxed.conn.data_size_bytes_max)
            if self._muxed.conn.congested:
                await self._muxed.conn.wait_room()
            elif room <= 0:
                await self._window.wait()
            elif self._write_now(data[start : start + room]):
                start += room
                if start < len(data):  # or what follows goes out together with this
                    await trio.lowlevel.checkpoint()

    def _check_writable(self) -> None:
        muxed = self._muxed
        if muxed.closed or muxed.send_closed or muxed.reset_received or muxed.conn.event_shutting_down.is_set():
            raise StreamClosed(self.peer_id, reason="reset")

    async def _read_some(self) -> Part:
        arrived = take_arrived(self._muxed)
        if arrived:
            await trio.lowlevel.cancel_shielded_checkpoint()
        # What woke us may be taken already, so look again.
        while not arrived and await wait_arrived(self._muxed):
            arrived = take_arrived(self._muxed)
        if arrived:
            self._make_room(sum(map(len, arrived)))
            for part in arrived[:-1]:
                self._arrived.put(part)
            return arrived[-1]
        try:
            data = await take_rest(self._muxed)
        except MuxedStreamEOF:
            if self._muxed.reset_received:
                raise StreamClosed(self.peer_id, reason="reset") from None
            return b""
        except MuxedStreamError as error:
            raise StreamClosed(self.peer_id, reason=str(error)) from error
        self._make_room(len(data))
        return data

    def _make_room(self, size_bytes: int) -> None:
        """Let the peer send as much as was read, and at first what makes its window `_WINDOW_SIZE_BYTES`."""
        self._room_owed += size_bytes
        if self._room_owed >= self._room_step:
            try:
                grant_room(self._muxed, self._room_owed + self._room_extra)
            except BROKEN as error:
                log.debug("no window update to %s: %s", self.peer_id, error)
            self._room_owed = self._room_extra = 0
            self._room_step = _ROOM_STEP_SIZE_BYTES

    async def _close(self) -> None:
        try:
            await self._net.close()
        except BROKEN as error:
            log.debug("closing a stream with %s: %s", self.peer_id, error)

    async def _reset(self) -> None:
        try:
            await self._net.reset()
        except BROKEN as error:
            log.debug("resetting a stream with %s: %s", self.peer_id, error)
