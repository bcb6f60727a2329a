"""What can go wrong with weights, and whose fault it is.

::

    InputError
    ├── MalformedWeights      the folder itself is wrong, whoever serves it: its author is to blame
    │   └── WeightsTooLarge   it is larger, deeper or has more entries than allowed
    └── BlockMismatch         bytes that are not what their identifier says: the sender is to blame
    StateError
    └── BlockDamaged          a block on our own disk has changed; it has to be fetched again
    PdfedError
    └── StoreFull             the quota of our own store is used up: nobody is to blame, and room can be made
    NotFound
    ├── BlockMissing          the block is not in this store
    └── WeightsUnavailable    no peer that was asked has it; another peer, or a later moment, may

`MalformedWeights` and `WeightsTooLarge` stay true for ever, since an identifier never means other bytes;
`WeightsUnavailable` says nothing about the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pdfedchain.errors import DecodeError, InputError, NotFound, PdfedError, StateError
from pdfedchain.ids import Cid, cid_text

__all__ = [
    "BlockDamaged",
    "BlockMismatch",
    "BlockMissing",
    "MalformedWeights",
    "PeerFault",
    "PeerFaultKind",
    "StoreFull",
    "WeightsTooLarge",
    "WeightsUnavailable",
]


class PeerFaultKind(StrEnum):
    """Why a peer is asked no more during one transfer; only `LIED` and `GARBAGE` cannot happen to an honest one."""

    LIED = "lied"  # sent bytes that do not hash to the identifier
    GARBAGE = "garbage"  # sent a frame that is no message of the protocol, or what nobody asked for
    STALLED = "stalled"  # answered nothing for too long
    BROKEN = "broken"  # no stream could be opened, or it broke off, too many times


@dataclass(frozen=True, slots=True)
class PeerFault:
    """One peer's failure in one transfer.

    Attributes:
        peer_id: the peer.
        kind: see `PeerFaultKind`.
        detail: one sentence for people.
    """

    peer_id: str
    kind: PeerFaultKind
    detail: str


class MalformedWeights(DecodeError):
    """A folder that no store of ours accepts, though every block has its right hash."""


class WeightsTooLarge(MalformedWeights):
    """A folder that exceeds a bound on size, depth or number of entries."""


class BlockMismatch(InputError):
    """Bytes do not hash to the identifier they were sent for.

    Attributes:
        cid: the identifier they should have had.
    """

    def __init__(self, cid: Cid, detail: str) -> None:
        super().__init__(f"block {cid_text(cid)}: {detail}")
        self.cid = cid


class BlockDamaged(StateError):
    """A stored block no longer hashes to its name.

    Attributes:
        cid: the block.
    """

    def __init__(self, cid: Cid) -> None:
        super().__init__(f"block {cid_text(cid)} is damaged on disk", hint="Fetch the weights again.")
        self.cid = cid


class StoreFull(PdfedError):
    """A block does not fit into the store's quota. Not a `StateError`: the node goes on, and tries again later."""

    def __init__(self, used_bytes: int, size_bytes_max: int) -> None:
        super().__init__(
            f"the store of weights is full: {used_bytes / 1e6:.1f} MB of {size_bytes_max / 1e6:.1f} MB are in use",
            hint="`pdfed weights gc` deletes what nothing needs; quota_mb in [weights] of config.toml is the limit",
        )


class BlockMissing(NotFound):
    """A block is not in this store.

    Attributes:
        cid: the block.
    """

    def __init__(self, cid: Cid) -> None:
        super().__init__(
            f"block {cid_text(cid)} is not stored here",
            hint="`pdfed weights fetch CID --from ADDRESS` fetches weights from a node that has them",
        )
        self.cid = cid


class WeightsUnavailable(NotFound):
    """None of the peers asked could give all blocks.

    Attributes:
        cid: the weights.
        missing: some of the blocks still missing.
        faults: what the peers did wrong, if anything.
    """

    def __init__(self, cid: Cid, missing: tuple[Cid, ...], faults: tuple[PeerFault, ...]) -> None:
        told = "; ".join(f"{fault.peer_id} {fault.kind}: {fault.detail}" for fault in faults[:8])
        super().__init__(
            f"no peer has all of {cid_text(cid)}" + (f" ({told})" if told else ""),
            hint="Connect to a peer that holds these weights and try again.",
        )
        self.cid = cid
        self.missing = missing
        self.faults = faults
