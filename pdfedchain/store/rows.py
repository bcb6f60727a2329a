"""What blocks become in the tables of `pdfedchain.store.sqlite_file`, gathered before it is written.

Keys of most tables are hashes, so every row lies in another page. Rows of one block, or of the blocks of a batch, are
therefore written at once, table after table, in the order of their keys; a value of the state that several blocks of a
batch change is written once. What an account or a thing has to do with a block is one row, with the positions of its
transactions and events in it. Transactions are found by the first eight bytes of their hashes; the whole hashes of a
block, by which such a find is confirmed, lie together.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgpack

from pdfedchain.application import Execution
from pdfedchain.codec import encode
from pdfedchain.crypto import StateTree
from pdfedchain.errors import DecodeError
from pdfedchain.ids import Hash
from pdfedchain.limits import HASH_SIZE_BYTES
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import BlockBody
from pdfedchain.types.event import Event
from pdfedchain.types.light import LightBlock
from pdfedchain.types.transaction import transaction_hashes

__all__ = ["BlockRows", "hash_prefix", "unpack_events", "unpack_hashes", "unpack_positions", "write_light"]

_POSITION_SIZE_BYTES: Final = 4

#: The first eight bytes of each hash, as SQLite's signed integer.
_HASH_PREFIXES: Final = struct.Struct(f">q{HASH_SIZE_BYTES - 8}x")

#: A batch that has gathered more subjects than this is written before it ends; some ten full blocks, 100 MB.
_SUBJECTS_MAX: Final = 100_000


class BlockRows:
    """The rows of consecutive blocks."""

    def __init__(self) -> None:
        self._light: list[LightBlock] = []
        self._bodies: list[tuple[int, bytes]] = []
        self._hashes: list[tuple[int, bytes]] = []
        self._transactions: list[tuple[int, int]] = []
        self._events: list[tuple[int, bytes]] = []
        self._kinds: list[tuple[str, int, bytes]] = []
        self._subjects: list[tuple[bytes, int, bytes, bytes]] = []
        self._state: dict[bytes, bytes | None] = {}
        self._authorities: AuthoritySet | None = None

    def __bool__(self) -> bool:
        return bool(self._light)

    @property
    def is_full(self) -> bool:
        """Whether so much has gathered that it had better be written."""
        return len(self._subjects) > _SUBJECTS_MAX

    def add(
        self,
        light: LightBlock,
        body: BlockBody,
        execution: Execution,
        *,
        before: StateTree,
        authorities: AuthoritySet | None,
    ) -> None:
        """Take in the block after the one added last, or nothing of it.

        Args:
            before: the state after the block before.
            authorities: those that vote on this block, if they are known to be written or among these rows.

        Raises:
            DecodeError: an event is out of bounds.
        """
        height = light.header.height
        hashes = b"".join(transaction_hashes(body.transactions))
        events = _packed_events(execution.events)
        # Nothing from here on is refused.
        self._light.append(light)
        self._bodies.append((height, body.encoded))
        if hashes:
            self._hashes.append((height, hashes))
            self._transactions += [(prefix, height) for (prefix,) in _HASH_PREFIXES.iter_unpack(hashes)]
        if execution.events:
            self._events.append((height, events))
            kinds = _places([(event.kind,) for event in execution.events])
            self._kinds += [(kind, height, _pack_positions(places)) for kind, places in kinds.items()]
        self._add_subjects(height, execution)
        self._state.update(execution.state.changes_since(before))
        if execution.next_authorities is not authorities:
            self._authorities = execution.next_authorities

    def _add_subjects(self, height: int, execution: Execution) -> None:
        transactions = _places(execution.transaction_subjects)
        events = _places([event.subjects for event in execution.events])
        for subject, places in transactions.items():
            self._subjects.append((subject, height, _pack_positions(places), _pack_positions(events.pop(subject, ()))))
        self._subjects += [(subject, height, b"", _pack_positions(places)) for subject, places in events.items()]

    def write(self, connection: sqlite3.Connection) -> None:
        """Write everything, inside a transaction of the caller."""
        for light in self._light:
            write_light(connection, light)
        connection.executemany("INSERT INTO bodies VALUES (?, ?)", self._bodies)
        connection.executemany("INSERT INTO transaction_hashes VALUES (?, ?)", self._hashes)
        # The same transaction may be in a block twice, where the application allows it.
        connection.executemany("INSERT OR IGNORE INTO transactions VALUES (?, ?)", sorted(self._transactions))
        connection.executemany("INSERT INTO events VALUES (?, ?)", self._events)
        connection.executemany("INSERT INTO event_kinds VALUES (?, ?, ?)", sorted(self._kinds))
        connection.executemany("INSERT INTO subjects VALUES (?, ?, ?, ?)", sorted(self._subjects))
        state: list[tuple[bytes, bytes | None]] = sorted(self._state.items())
        connection.executemany("DELETE FROM state WHERE key = ?", [(key,) for key, value in state if value is None])
        connection.executemany(
            "INSERT OR REPLACE INTO state VALUES (?, ?)", [change for change in state if change[1] is not None]
        )
        if self._authorities is not None:
            authorities = encode(self._authorities)
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('next_authorities', ?)", (authorities,))


def write_light(connection: sqlite3.Connection, light: LightBlock) -> None:
    """Write a header, its certificate, and whether others vote after it."""
    height = light.header.height
    connection.execute("INSERT INTO light_blocks VALUES (?, ?, ?)", (height, light.hash, encode(light)))
    if light.is_handover:
        connection.execute("INSERT INTO handovers VALUES (?)", (height,))


def hash_prefix(transaction: Hash) -> int:
    """By which a transaction is looked for."""
    prefix: int = _HASH_PREFIXES.unpack(transaction)[0]
    return prefix


def unpack_hashes(data: bytes) -> list[Hash]:
    """The hashes of a block's transactions."""
    return [Hash(data[start : start + HASH_SIZE_BYTES]) for start in range(0, len(data), HASH_SIZE_BYTES)]


def _places(named: Iterable[Sequence[Any]]) -> dict[Any, list[int]]:
    """For each thing that is named somewhere, the positions where it is, each once."""
    places: dict[Any, list[int]] = {}
    for position, things in enumerate(named):
        for thing in things:
            known = places.get(thing)
            if known is None:
                places[thing] = [position]
            elif known[-1] != position:
                known.append(position)
    return places


def _pack_positions(positions: Sequence[int]) -> bytes:
    return struct.pack(f">{len(positions)}I", *positions)


def unpack_positions(data: bytes, count: int) -> tuple[int, ...]:
    """Positions below ``count``, in order.

    Raises:
        DecodeError: it is nothing of that kind.
    """
    if len(data) % _POSITION_SIZE_BYTES:
        raise DecodeError(f"{len(data)} bytes are no positions")
    positions = struct.unpack(f">{len(data) // _POSITION_SIZE_BYTES}I", data)
    if positions and positions[-1] >= count:
        raise DecodeError(f"position {positions[-1]}, there are {count}")
    return positions


def _packed_events(events: Iterable[Event]) -> bytes:
    # Each is encoded by itself, so that one can be had without decoding the others.
    packed: bytes = msgpack.packb([encode(event) for event in events])
    return packed


def unpack_events(data: bytes) -> list[bytes]:
    """The encoded events of a block.

    Raises:
        DecodeError: it is nothing of that kind.
    """
    try:
        events = msgpack.unpackb(data, use_list=True)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise DecodeError(f"no list of events: {error}") from error
    if not isinstance(events, list) or not all(isinstance(event, bytes) for event in events):
        raise DecodeError("no list of events")
    return events
