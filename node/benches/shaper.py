"""A line of a given rate: a process that forwards TCP connections through one token bucket in each direction.

``python -m node.benches.shaper BYTES_PER_SECOND PORT`` prints the port it listens on, forwards to ``PORT`` of this
machine, and ends with its standard input.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Final

import trio

__all__ = ["main"]

_READ_SIZE_BYTES: Final = 16_384
#: What a line that was idle may send at once: as much as it carries in this time.
_BURST_S: Final = 0.01


class _Bucket:
    """Lets bytes pass at a rate."""

    def __init__(self, rate_bytes_per_s: float) -> None:
        self._rate_bytes_per_s = rate_bytes_per_s
        self._free_at = trio.current_time()

    async def pass_through(self, size_bytes: int) -> None:
        """Wait until so many bytes have passed."""
        begins_at = max(self._free_at, trio.current_time() - _BURST_S)
        self._free_at = begins_at + size_bytes / self._rate_bytes_per_s
        await trio.sleep_until(self._free_at)


async def _serve(rate_bytes_per_s: float, target: int) -> None:
    there, back = _Bucket(rate_bytes_per_s), _Bucket(rate_bytes_per_s)

    async def connect(near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream("127.0.0.1", target)
        async with far, trio.open_nursery() as nursery:
            nursery.start_soon(_forward, near, far, there)
            nursery.start_soon(_forward, far, near, back)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listener.socket.getsockname()[1], flush=True)  # noqa: T201 - the protocol with the parent process
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, connect, [listener])
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


async def _forward(source: trio.SocketStream, sink: trio.SocketStream, bucket: _Bucket) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await source.receive_some(_READ_SIZE_BYTES):
            await bucket.pass_through(len(data))
            await sink.send_all(data)
        await sink.send_eof()


def main() -> None:
    """Forward until standard input ends."""
    rate, target = sys.argv[1:]
    trio.run(_serve, float(rate), int(target))


if __name__ == "__main__":
    main()
