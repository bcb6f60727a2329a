"""What a stream reads of a yamux connection.

Traps of libp2p 0.8.1 that this mends:

* Reading copies, and knows nothing of what `WindowWatch` keeps.
* Reading goes by a stream's number. Once a peer has opened a second stream by the number of one that has ended, a
  reader of the first takes the second's data, and the two replace the event that the other waits for: one of them then
  waits for ever, also after the connection has ended. Here a stream that is not the one of its number has ended.
"""

from __future__ import annotations

import trio
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamReset
from libp2p.stream_muxer.yamux.yamux import YamuxStream

from node.host.framing import Part
from node.host.yamux import WindowWatch

__all__ = ["take_arrived", "take_rest", "wait_arrived"]


def _has_ended(stream: YamuxStream) -> bool:
    """Whether nothing more will arrive."""
    ended = stream.closed or stream.recv_closed or stream.reset_received
    return ended or stream.conn.streams.get(stream.stream_id) is not stream


def take_arrived(stream: YamuxStream) -> list[Part]:
    """What has arrived on a stream, all of it, without a copy; empty where only waiting, or an end, can follow."""
    watch = stream.window_lock
    if isinstance(watch, WindowWatch) and watch.arrived.size_bytes and not stream.reset_received:
        return watch.arrived.take_parts(watch.arrived.size_bytes)
    buffers = stream.conn.stream_buffers
    if _has_ended(stream) or not (arrived := buffers.get(stream.stream_id)):
        return []  # `take_rest` also ends streams, in the right order
    buffers[stream.stream_id] = bytearray()
    return [arrived]


async def wait_arrived(stream: YamuxStream) -> bool:
    """Wait for something to arrive; false at once where only an end can follow, which `take_rest` tells."""
    events = stream.conn.stream_events
    event = events.get(stream.stream_id)
    if event is None or _has_ended(stream) or stream.conn.event_shutting_down.is_set():
        return False
    await event.wait()
    if events.get(stream.stream_id) is event:
        events[stream.stream_id] = trio.Event()
    return True


async def take_rest(stream: YamuxStream) -> bytes:
    """What had arrived on a stream before it ended.

    Raises:
        MuxedStreamEOF: nothing more; the peer, or the connection, has ended it.
        MuxedStreamReset: the peer has reset it.
    """
    conn = stream.conn
    async with conn.streams_lock:
        buffer = conn.stream_buffers.get(stream.stream_id)
        if conn.streams.get(stream.stream_id) is not stream or conn.event_shutting_down.is_set() or buffer is None:
            raise MuxedStreamEOF("the stream was forgotten, or the connection has ended")
        if buffer and (stream.recv_closed or not stream.reset_received):
            rest = bytes(buffer)
            buffer.clear()
            if stream.closed:
                conn._finalize_stream_locked(stream, fully_closed=True)
            return rest
        if stream.reset_received or not stream.recv_closed:
            raise MuxedStreamReset("the stream was reset")
        raise MuxedStreamEOF("the peer has ended the stream")
