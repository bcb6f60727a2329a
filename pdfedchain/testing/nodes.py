"""What a simulated node is made of, and chains of them: keys, genesis, everything in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from pdfedchain.application import Application
from pdfedchain.consensus.effects import Effect
from pdfedchain.consensus.replica import Replica
from pdfedchain.crypto import SigningKey
from pdfedchain.testing.byzantine.actor import Actor
from pdfedchain.testing.counter import CounterApplication
from pdfedchain.testing.fuse import Fuse, FusedLog, FusedSigner, FusedStore
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.genesis import ChainParameters, Genesis

__all__ = ["START_MS", "Node", "make_genesis", "make_keys"]

#: Any time will do; not 0, so that differences show.
START_MS: Final = 1_700_000_000_000


@dataclass(slots=True)
class Node:
    """One node: what survives a crash, and the replica, which does not.

    Attributes:
        actor: lies for it; ``None`` for an honest node.
        replica: ``None`` while it is down.
        skew_ms: its clock minus the simulator's.
        life: how often it has died: timers of an earlier life do not fire.
        told: last height that the observer has been told of.
        pool: transactions waiting here.
        seen: effects that nobody acts on (evidence, disputes, alarms), in order.
    """

    index: int
    key: SigningKey
    application: Application
    store: FusedStore
    log: FusedLog
    signer: FusedSigner
    fuse: Fuse
    actor: Actor | None = None
    replica: Replica | None = None
    skew_ms: int = 0
    life: int = 0
    told: int = 0
    pool: list[bytes] = field(default_factory=list)
    seen: list[Effect] = field(default_factory=list)

    @classmethod
    def make(cls, index: int, key: SigningKey, application: Application) -> Node:
        """A node with nothing on its disks."""
        fuse = Fuse()
        return cls(index, key, application, FusedStore(fuse), FusedLog(fuse), FusedSigner(fuse), fuse)


def make_keys(size: int) -> list[SigningKey]:
    """Keys of a chain of this many authorities, the same every time, in order of address."""
    seeds = (hashlib.sha256(b"simulated authority %d" % index).digest() for index in range(size))
    return sorted((SigningKey(seed) for seed in seeds), key=lambda key: key.address)


def make_genesis(keys: list[SigningKey], parameters: ChainParameters) -> Genesis:
    """Genesis of a counter chain of these authorities."""
    authorities = AuthoritySet(0, tuple(key.address for key in keys))
    return Genesis("simulated", START_MS, 1, authorities, parameters, CounterApplication.name, b"")
