"""Yamux with one writer, bounded buffers and a close that never waits.

Traps of libp2p 0.8.1 that this mends:

* The task that reads a connection awaits the write lock to answer pings and to acknowledge streams. When both sides
  have full socket buffers, both readers wait for a writer that waits for a reader: a permanent deadlock. Here every
  frame goes into a queue and one task per connection writes it; only those who send data wait for room.
* Cancelling a write in mid-frame corrupts the connection, because noise has counted the message already. The
  writing task is cancelled by nobody but the connection's own end.
* The receive window is not enforced. A peer that has sent more than `BUFFERED_SIZE_BYTES_MAX` of unread data loses
  its connection.
* A close waits for a peer that has stopped reading. Here it gets `_GOODBYE_S`, then the socket is closed.

``muxer_opt`` ignores a class of ours (`muxer_multistream.py:143`), so `YamuxOnly` replaces the chooser instead.
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

import trio
from libp2p.io.exceptions import ConnectionClosedError, IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import (
    DEFAULT_WINDOW_SIZE,
    GO_AWAY_NORMAL,
    HEADER_SIZE,
    MAX_WINDOW_SIZE,
    PROTOCOL_ID,
    TYPE_DATA,
    TYPE_GO_AWAY,
    TYPE_WINDOW_UPDATE,
    Yamux,
    YamuxStream,
)

from node.host.framing import Arrived
from node.host.session import Session

__all__ = [
    "BULK_PROTOCOL_ID",
    "DATA_SIZE_BYTES_MAX",
    "DEFAULT_WINDOW_SIZE",
    "QueuedYamux",
    "WindowWatch",
    "YamuxOnly",
    "dialling_bulk",
    "grant_room",
    "write_now",
]

log = logging.getLogger(__name__)

#: One yamux frame of this much data fits one noise message (65,535 - 16 of MAC - 12 of header).
DATA_SIZE_BYTES_MAX: Final[int] = MAX_PLAINTEXT_LENGTH - HEADER_SIZE

#: The same of a connection for bulk, where nothing small waits behind it: four noise messages, after a small one with
#: the header. It fits into the first window, and costs a quarter of the turns that four frames take, on both sides.
BULK_DATA_SIZE_BYTES_MAX: Final[int] = 4 * MAX_PLAINTEXT_LENGTH

#: Senders wait above this much queued data; a socket takes a few hundred kilobytes at once.
_QUEUED_SIZE_BYTES_SOFT_MAX: Final = 262_144

#: Frames nobody waits for (acknowledgements, window updates, pings). A peer that lets this many pile up does not read.
_QUEUED_FRAMES_MAX: Final = 16_384

#: Unread data of all streams of a connection: sixteen streams at the largest window that we grant.
BUFFERED_SIZE_BYTES_MAX: Final = 33_554_432

#: Frames written to the socket at once. More would make small frames wait, less costs a call for each.
_WRITE_SIZE_BYTES: Final = 262_144

#: A frame of which not another `DATA_SIZE_BYTES_MAX` comes within so long ends the connection.
_BODY_TIMEOUT_S: Final = 30.0

_GOODBYE_S: Final = 0.25

#: A writer without a window looks this often whether its stream was reset.
_WINDOW_LOOK_S: Final = 0.25

_HEADER: Final = struct.Struct("!BBHII")

#: Yamux by another name: the same frames, for bulk.
BULK_PROTOCOL_ID: Final = "/pdfed/bulk/yamux/1.0.0"

#: Set in the task that dials a connection for bulk; libp2p hands no such wish from the dial to the negotiation.
dialling_bulk: Final[ContextVar[bool]] = ContextVar("dialling_bulk", default=False)


class _Queued(NamedTuple):
    """A frame in line."""

    parts: tuple[bytes | memoryview, ...]
    size_bytes: int
    written: trio.Event | None


class QueuedYamux(Yamux):  # type: ignore[misc]
    """A yamux connection whose frames are written by one task.

    Attributes:
        is_bulk: it carries bulk only.
    """

    is_bulk = False

    def __init__(self, secured_conn: Any, *args: Any, **options: Any) -> None:
        self._session = Session(secured_conn)
        super().__init__(Headers(self, self._session), *args, **options)
        self._queue: deque[_Queued] = deque()
        self._queued_size_bytes = 0
        self._queue_filled = trio.Event()
        self._room = trio.Event()
        self._writing_ended = False

    async def handle_incoming(self) -> None:
        """Read until the connection ends, with the writer beside it in the connection's nursery."""
        self._nursery.start_soon(self._write_queue)
        await super().handle_incoming()

    async def _write_queue(self) -> None:
        try:
            while True:
                while self._queue:
                    taken = self._take_queued()
                    await self._session.write_all([part for queued in taken for part in queued.parts])
                    self._queued_size_bytes -= sum(queued.size_bytes for queued in taken)
                    if not self.congested:
                        self._room.set()
                    for queued in taken:
                        if queued.written is not None:
                            queued.written.set()
                self._queue_filled = trio.Event()
                await self._queue_filled.wait()
        except (IOException, RawConnError, OSError, trio.ClosedResourceError, trio.BrokenResourceError) as error:
            log.debug("writing to %s ended: %s", self.peer_id, error)
            # The reader notices a closed socket and ends the connection.
            await self.secured_conn.close()
        finally:
            self._writing_ended = True
            self._room.set()
            for queued in self._queue:
                if queued.written is not None:
                    queued.written.set()
            self._queue.clear()
            self._queued_size_bytes = 0

    def _take_queued(self) -> list[_Queued]:
        """The frames to write next: one at least, and no more than is to lie in the socket's buffer at once."""
        taken = [self._queue.popleft()]
        size_bytes = taken[0].size_bytes
        while self._queue and (size_bytes := size_bytes + self._queue[0].size_bytes) <= _WRITE_SIZE_BYTES:
            taken.append(self._queue.popleft())
        return taken

    def enqueue(self, *parts: bytes | memoryview, written: trio.Event | None = None) -> None:
        """Put a frame in line, whose parts stay as they are until it is written.

        Raises:
            ConnectionClosedError: the connection has ended, or the peer has not read for very long.
        """
        if self._writing_ended or self.event_shutting_down.is_set():
            raise ConnectionClosedError("connection closed", transport="yamux")
        if len(self._queue) >= _QUEUED_FRAMES_MAX:
            # Ends the writer, and with it the connection; the socket closes at its next write.
            self._nursery.cancel_scope.cancel()
            raise ConnectionClosedError("connection closed: the peer does not read", transport="yamux")
        queued = _Queued(parts, sum(map(len, parts)), written)
        self._queue.append(queued)
        self._queued_size_bytes += queued.size_bytes
        self._queue_filled.set()

    @property
    def data_size_bytes_max(self) -> int:
        """Most data of one frame."""
        return BULK_DATA_SIZE_BYTES_MAX if self.is_bulk else DATA_SIZE_BYTES_MAX

    @property
    def congested(self) -> bool:
        """Whether whoever sends data should wait."""
        return self._queued_size_bytes > _QUEUED_SIZE_BYTES_SOFT_MAX

    async def wait_room(self) -> None:
        """Wait until data may be put in line, or is refused since the connection has ended."""
        while self.congested:
            if self._room.is_set():
                self._room = trio.Event()
            await self._room.wait()

    async def _write_frame(self, data: bytes) -> None:
        kind = data[1]
        if kind == TYPE_GO_AWAY or (kind == TYPE_DATA and self.congested):
            written = trio.Event()
            self.enqueue(data, written=written)
            await written.wait()
            if self._writing_ended:
                raise ConnectionClosedError("connection closed", transport="yamux")
        else:
            self.enqueue(data)
            if kind == TYPE_DATA:
                await trio.lowlevel.checkpoint()

    def _check_buffered(self, length: int) -> None:
        watches = (stream.window_lock for stream in self.streams.values())
        unread = sum(watch.arrived.size_bytes for watch in watches if isinstance(watch, WindowWatch))
        if length + unread + sum(map(len, self.stream_buffers.values())) > BUFFERED_SIZE_BYTES_MAX:
            # The one exception for which libp2p closes the connection instead of going on out of step.
            raise trio.TooSlowError(f"{self.peer_id} sends more than its windows allow")

    async def _read_data_body(self, length: int) -> bytes:
        self._check_buffered(length)
        with trio.fail_after(_BODY_TIMEOUT_S):
            return await self._session.read(length)

    async def next_header(self) -> bytes:
        """The next header that libp2p has to see. Data and room for streams that are open are taken on the way.

        Raises:
            IncompleteReadError: the connection has ended.
            trio.TooSlowError: the peer sends too much, or does not go on; libp2p closes the connection.
        """
        while True:
            header = await self._session.read(HEADER_SIZE)
            _, kind, flags, stream_id, length = _HEADER.unpack(header)
            stream = self.streams.get(stream_id)
            if flags or stream is None:
                return header
            if kind == TYPE_WINDOW_UPDATE and isinstance(stream.window_lock, WindowWatch):
                stream.send_window += length
                stream.window_lock.tell()
            elif kind == TYPE_DATA and 0 < length <= MAX_WINDOW_SIZE:
                await self._take_data(stream, length)
            else:
                return header

    async def _take_data(self, stream: YamuxStream, length: int) -> None:
        self._check_buffered(length)
        while (here := self._session.arrived.size_bytes) < length:
            with trio.fail_after(_BODY_TIMEOUT_S):
                if not await self._session.fill(min(length, here + DATA_SIZE_BYTES_MAX)):
                    break
        buffer = self.stream_buffers.get(stream.stream_id)
        if buffer is None or self._session.arrived.size_bytes < length:
            # The stream was forgotten meanwhile, or the connection ends, which the next header tells.
            self._session.arrived.take_parts(min(length, self._session.arrived.size_bytes))
            return
        parts = self._session.arrived.take_parts(length)
        if not buffer and isinstance(stream.window_lock, WindowWatch):
            for part in parts:
                stream.window_lock.arrived.put(part)
        else:
            for part in parts:
                buffer += part
        stream.recv_window = max(0, stream.recv_window - length)
        self.stream_events[stream.stream_id].set()

    async def close(self, error_code: int = GO_AWAY_NORMAL) -> None:
        """Say goodbye if the peer listens, then close the socket."""
        if not self.event_shutting_down.is_set() and self._nursery is not None:
            with trio.move_on_after(_GOODBYE_S):
                try:
                    await self._write_frame(_HEADER.pack(0, TYPE_GO_AWAY, 0, 0, error_code))
                except (IOException, RawConnError) as error:
                    log.debug("no goodbye to %s: %s", self.peer_id, error)
        await self._cleanup_on_error()

    async def _cleanup_on_error(self) -> None:
        """Close the socket before anything that could be cancelled, or it would stay open."""
        self.event_shutting_down.set()
        with trio.CancelScope(shield=True):
            await self.secured_conn.close()
        await super()._cleanup_on_error()


class Headers:
    """What libp2p's loop reads from: headers alone, since bodies are read by `QueuedYamux._read_data_body`."""

    def __init__(self, muxed: QueuedYamux, session: Session) -> None:
        self._muxed = muxed
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def read(self, size_bytes: int) -> bytes:
        """A header."""
        assert size_bytes == HEADER_SIZE, "libp2p reads nothing but headers here"
        return await self._muxed.next_header()


class WindowWatch:
    """Tells who writes on a stream that its window has changed. Yamux has no event for it, and polling is slow.

    It takes the place of the lock that is held while the window grows, and looks up when that is released.

    Attributes:
        arrived: data that came while yamux' own buffer was empty, so it comes before what is in that; kept as it came,
            since a buffer that grows copies what it holds again and again.
    """

    def __init__(self, stream: YamuxStream) -> None:
        self.arrived = Arrived()
        self._lock = trio.Lock()
        self._changed = trio.Event()
        stream.window_lock = self

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *exception: object) -> None:
        self._lock.release()
        self.tell()

    def tell(self) -> None:
        """Wake who waits: the window has grown."""
        self._changed.set()

    async def wait(self) -> None:
        """Wait for a change, or a little while: a reset changes no window."""
        if self._changed.is_set():
            self._changed = trio.Event()
        with trio.move_on_after(_WINDOW_LOOK_S):
            await self._changed.wait()


def write_now(stream: YamuxStream, data: bytes | memoryview) -> bool:
    """Write without waiting: true if all of ``data`` is in line, false if nothing is.

    Raises:
        ConnectionClosedError: the connection has ended.
    """
    conn = stream.conn
    if len(data) > min(stream.send_window, conn.data_size_bytes_max) or conn.congested:
        return False
    header = _HEADER.pack(0, TYPE_DATA, 0, stream.stream_id, len(data))
    if len(data) <= DATA_SIZE_BYTES_MAX:
        conn.enqueue(b"".join((header, data)))
    else:
        conn.enqueue(header, data)
    stream.send_window -= len(data)
    return True


def grant_room(stream: YamuxStream, size_bytes: int) -> None:
    """Let the peer send so much more on a stream.

    Raises:
        ConnectionClosedError: the connection has ended.
    """
    stream.recv_window += size_bytes
    stream.conn.enqueue(_HEADER.pack(0, TYPE_WINDOW_UPDATE, 0, stream.stream_id, size_bytes))


class YamuxOnly(MuxerMultistream):  # type: ignore[misc]
    """Agrees on yamux and nothing else, and uses `QueuedYamux`.

    Yamux goes by two names here. Who dials by the second one says that this connection carries bulk (`node.host.bulk`).
    """

    def __init__(self) -> None:
        super().__init__({PROTOCOL_ID: QueuedYamux, BULK_PROTOCOL_ID: QueuedYamux})
        self._for_bulk = MuxerMultistream({BULK_PROTOCOL_ID: QueuedYamux})

    async def new_conn(self, conn: Any, peer_id: Any) -> Any:
        """A yamux connection over a secured one."""
        offer = self._for_bulk if conn.is_initiator and dialling_bulk.get() else self
        protocol, _ = await offer._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        muxed = QueuedYamux(conn, peer_id, is_initiator=conn.is_initiator)
        muxed.is_bulk = protocol == BULK_PROTOCOL_ID
        return self._annotate_connection(muxed, conn, protocol)
