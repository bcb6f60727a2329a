"""Messages of Bitswap 1.2.0, in the encoding of libp2p's own definitions.

Frames on a stream are a length as a varint and one message. Only what is read and written here is kept of a message:
priorities and pending bytes change nothing for us.

Source: https://specs.ipfs.tech/bitswap-protocol/
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError as ProtobufError
from libp2p.bitswap.pb.bitswap_pb2 import Message

from node.host.interface import FrameTooLarge, Stream, StreamClosed
from pdfedchain.errors import DecodeError

__all__ = [
    "PROTOCOL",
    "BitswapMessage",
    "BitswapWant",
    "NoRoom",
    "decode_message",
    "encode_message",
    "receive_message",
    "send_message",
]

PROTOCOL: Final = "/ipfs/bitswap/1.2.0"

_VARINT_SIZE_BYTES_MAX: Final = 5


class NoRoom(StreamClosed):
    """A message was not read because too much is being read already."""


@dataclass(frozen=True, slots=True)
class BitswapWant:
    """One entry of a want-list.

    Attributes:
        cid: in binary, of any kind.
        block: the block is wanted; otherwise only whether it is here.
        cancel: it is wanted no more.
        say_no: answer also if it is not here.
    """

    cid: bytes
    block: bool = True
    cancel: bool = False
    say_no: bool = True


@dataclass(frozen=True, slots=True)
class BitswapMessage:
    """What one message says.

    Attributes:
        blocks: prefix (a CID without its digest) and bytes of each.
        haves, have_nots: identifiers of blocks that the sender has, or has not.
    """

    wants: tuple[BitswapWant, ...] = ()
    blocks: tuple[tuple[bytes, bytes], ...] = ()
    haves: tuple[bytes, ...] = ()
    have_nots: tuple[bytes, ...] = ()


def encode_message(message: BitswapMessage) -> bytes:
    """The encoding."""
    raw = Message()
    for want in message.wants:
        entry = raw.wantlist.entries.add()
        entry.block, entry.priority, entry.cancel = want.cid, 1, want.cancel
        entry.wantType = Message.Wantlist.Block if want.block else Message.Wantlist.Have
        entry.sendDontHave = want.say_no
    for prefix, data in message.blocks:
        block = raw.payload.add()
        block.prefix, block.data = prefix, data
    for cids, kind in ((message.haves, Message.Have), (message.have_nots, Message.DontHave)):
        for cid in cids:
            presence = raw.blockPresences.add()
            presence.cid, presence.type = cid, kind
    return bytes(raw.SerializeToString())


def decode_message(data: bytes) -> BitswapMessage:
    """The message with this encoding.

    Raises:
        DecodeError: there is none.
    """
    raw = Message()
    try:
        raw.ParseFromString(data)
    except ProtobufError as error:
        raise DecodeError(f"not a message of Bitswap: {error}") from error
    return BitswapMessage(
        wants=tuple(
            BitswapWant(entry.block, entry.wantType == Message.Wantlist.Block, entry.cancel, entry.sendDontHave)
            for entry in raw.wantlist.entries
        ),
        blocks=tuple((block.prefix, block.data) for block in raw.payload),
        haves=tuple(presence.cid for presence in raw.blockPresences if presence.type == Message.Have),
        have_nots=tuple(presence.cid for presence in raw.blockPresences if presence.type == Message.DontHave),
    )


async def send_message(stream: Stream, message: BitswapMessage) -> None:
    """Send one message.

    Raises:
        StreamClosed: the peer has gone.
    """
    body = encode_message(message)
    size, head = len(body), bytearray()
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    await stream.write(bytes(head) + body)


async def receive_message(
    stream: Stream, size_bytes_max: int, *, has_room: Callable[[int], bool] = lambda size_bytes: True
) -> BitswapMessage | None:
    """The next message; None where the stream ends between two.

    Args:
        has_room: whether a message of so many bytes may be read now.

    Raises:
        NoRoom: it may not; nobody's fault. The stream has been reset.
        StreamClosed: the stream ended inside a message, or broke.
        FrameTooLarge: more than ``size_bytes_max`` was announced.
        DecodeError: it is no message.
    """
    size_bytes = 0
    for position in range(_VARINT_SIZE_BYTES_MAX):
        try:
            (byte,) = await stream.read_exactly(1)
        except StreamClosed as error:
            if error.clean and not position:
                return None
            raise
        size_bytes |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            break
    if byte >= 0x80 or size_bytes > size_bytes_max:
        await stream.reset()
        raise FrameTooLarge(stream.peer_id, size_bytes, size_bytes_max)
    if not has_room(size_bytes):
        await stream.reset()
        raise NoRoom(stream.peer_id, reason=f"no room for a message of {size_bytes} bytes")
    data = await stream.read_exactly(size_bytes)
    stream.note_request()
    return decode_message(data)
