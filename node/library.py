"""Weights by identifier, as folders that a worker can read.

The store keeps content-addressed blocks; a worker wants a plain folder. `Library` fetches what is missing from the
peers that are connected, or from those who are said to have it, and lays folders out while somebody uses them.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from node.host.interface import Host, HostError
from node.weights.errors import BlockDamaged, BlockMissing, PeerFault, PeerFaultKind, WeightsUnavailable
from node.weights.fetch import fetch
from node.weights.store import WeightsStore
from pdfedchain.errors import InputError
from pdfedchain.ids import Cid, cid_text

if TYPE_CHECKING:
    from node.weights.bitswap import Bitswap  # imports libp2p, which the rest of this module does not

__all__ = ["Library"]

log = logging.getLogger(__name__)


class Library:
    """Fetching, laying out and adding folders.

    Args:
        root: where folders are laid out; emptied when the node starts, since a crash may have left a torn one.
        peers: who may be asked for weights right now.
        on_fault: told of a peer that sent what no honest one sends.
        bitswap: asks peers that speak nothing else.
    """

    def __init__(
        self,
        store: WeightsStore,
        host: Host,
        root: Path,
        peers: Callable[[], Sequence[str]],
        on_fault: Callable[[str, str], None],
        bitswap: Bitswap | None = None,
    ) -> None:
        self.store = store
        self._host = host
        self._root = root
        self._peers = peers
        self._on_fault = on_fault
        self._bitswap = bitswap
        self._users: dict[Cid, int] = {}
        self._locks: dict[Cid, trio.Lock] = {}
        self._held: set[Cid] = set()
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)

    async def obtain(self, cid: Cid, *, size_bytes_max: int) -> None:
        """Make sure the whole folder is in the store, fetching what is missing.

        Connected peers are asked first; what they lack is asked of those who are said to provide it.

        Raises:
            WeightsUnavailable: no connected peer has all of it, and no provider either.
            MalformedWeights: it is no folder, or larger than ``size_bytes_max``.
        """
        async with self._lock(cid):
            if await self.holds(cid):
                return
            try:
                await self._fetch(cid, self._peers(), size_bytes_max)
            except WeightsUnavailable:
                providers = await self._providers(cid)
                if not providers:
                    raise
                await self._fetch(cid, providers, size_bytes_max)
            self._held.add(cid)
            self._host.provide(cid)

    async def _fetch(self, cid: Cid, peers: Sequence[str], size_bytes_max: int) -> None:
        report = await fetch(
            self._host,
            self.store,
            cid,
            peers,
            size_bytes_max=size_bytes_max,
            bitswap=self._bitswap,
            joining=self._peers,
            on_fault=self._report,
        )
        log.info("fetched %s: %d blocks, %d bytes", cid_text(cid), report.fetched_blocks, report.fetched_bytes)

    async def _providers(self, cid: Cid) -> list[str]:
        """Connect to whoever is said to have a folder and was not asked yet."""
        asked = set(self._peers())
        found: list[str] = []
        for address in await self._host.find_providers(cid):
            with contextlib.suppress(HostError, InputError):
                if (peer_id := await self._host.connect(address)) not in (*asked, *found):
                    found.append(peer_id)
        return found

    async def holds(self, cid: Cid) -> bool:
        """Whether every block of the folder is in the store; remembered once it is so."""
        if cid not in self._held and await trio.to_thread.run_sync(self.store.complete, cid):
            self._held.add(cid)
        return cid in self._held

    async def add(self, folder: Path) -> Cid:
        """Put a folder into the store."""
        cid = await trio.to_thread.run_sync(self.store.add_folder, folder)
        self._host.provide(cid)
        return cid

    @asynccontextmanager
    async def folder(self, cid: Cid) -> AsyncIterator[Path]:
        """The folder laid out on disk for the time of the block; several users share it.

        Raises:
            MalformedWeights: what is stored cannot be laid out as a folder.
            BlockDamaged, BlockMissing: the disk has lost something; `obtain` fetches it again.
        """
        target = self._root / cid_text(cid)
        async with self._lock(cid):
            if not target.exists():
                try:
                    await trio.to_thread.run_sync(self.store.export, cid, target)
                except (BlockDamaged, BlockMissing):
                    # A damaged block is deleted when it is met: the next `obtain` fetches it again.
                    self._held.discard(cid)
                    raise
            self._users[cid] = self._users.get(cid, 0) + 1
        try:
            yield target
        finally:
            with trio.CancelScope(shield=True):
                async with self._lock(cid):
                    self._users[cid] -= 1
                    if not self._users[cid]:
                        await trio.to_thread.run_sync(lambda: shutil.rmtree(target, ignore_errors=True))

    def _report(self, fault: PeerFault) -> None:
        if fault.kind in (PeerFaultKind.LIED, PeerFaultKind.GARBAGE):
            self._on_fault(fault.peer_id, fault.detail)

    def _lock(self, cid: Cid) -> trio.Lock:
        return self._locks.setdefault(cid, trio.Lock())
