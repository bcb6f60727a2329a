"""One or four authorities in one process, with everything in files; time is virtual, the disk is real.

What leaves a node is told to the parent first, one line each, over a pipe that survives the process::

    signed NODE HEIGHT ROUND STEP BLOCK SIGNATURE     step 0 proposal, 1 prevote, 2 precommit
    final NODE HEIGHT BLOCK                           stored at the start, or committed since
    refused NODE REASON                               the signer record forbade something
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pdfedchain.codec import decode, encode
from pdfedchain.consensus.effects import BehindPeer, Broadcast, Committed, Effect, SendTo, SigningRefused, StartTimer
from pdfedchain.consensus.messages import (
    MESSAGE_SIZE_BYTES_MAX,
    CertificateMessage,
    ConsensusMessage,
    Message,
    ProposalMessage,
    VoteMessage,
    VotesMessage,
)
from pdfedchain.consensus.replica import Replica
from pdfedchain.store.signer import SqliteSigner
from pdfedchain.store.sqlite import SqliteStore
from pdfedchain.store.wal import FileLog
from pdfedchain.testing.counter import CounterApplication
from pdfedchain.testing.nodes import START_MS, make_genesis, make_keys
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.vote import Vote

__all__ = ["Fleet"]

PARAMETERS = ChainParameters(heartbeat_idle_ms=1_500)


@dataclass(slots=True)
class Member:
    """One authority and its files."""

    replica: Replica
    store: SqliteStore


class Fleet:
    """Opens or makes the files below ``home`` and runs all nodes.

    Args:
        start_ms: added to the time at which the virtual clock starts.
        say: told of each line, before anything else happens.
    """

    def __init__(self, home: Path, size: int, *, start_ms: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._now_ms = START_MS + start_ms
        self._messages: deque[tuple[int, int, bytes]] = deque()
        self._timers: list[tuple[int, int, int, Callable[[], tuple[Effect, ...]]]] = []
        self._turn = 0
        keys = make_keys(size)
        genesis = make_genesis(keys, PARAMETERS)
        self.members: list[Member] = []
        for index, key in enumerate(keys):
            folder = home / f"node{index}"
            folder.mkdir(parents=True, exist_ok=True)
            application = CounterApplication()
            store = SqliteStore(folder / "chain.db")
            if store.genesis() is None:
                store.initialise(genesis, application.genesis_state(genesis))
            for height in range(1, store.height() + 1):
                say(f"final {index} {height} {store.final_block(height).block.hash.hex()}")
            signer = SqliteSigner(folder / "signer.db", chain_id=genesis.chain_id, address=key.address)
            replica = Replica(
                application=application,
                store=store,
                log=FileLog(folder / "consensus.wal"),
                signer=signer,
                key=key,
                clock=lambda: self._now_ms,
                candidates=lambda: (b"transaction at %d" % self._now_ms,),
            )
            self.members.append(Member(replica, store))

    def run(self, height: int) -> None:
        """Until every node has this final height."""
        for index, member in enumerate(self.members):
            self._carry_out(index, member.replica.start())
        while any(member.store.height() < height for member in self.members):
            if self._messages:
                source, target, data = self._messages.popleft()
                message = decode(ConsensusMessage, data, size_bytes_max=MESSAGE_SIZE_BYTES_MAX).body
                self._carry_out(target, self.members[target].replica.on_message(message, str(source)))
            else:
                at_ms, _, index, fire = heapq.heappop(self._timers)
                self._now_ms = max(self._now_ms, at_ms)
                self._carry_out(index, fire())

    def _carry_out(self, index: int, effects: tuple[Effect, ...]) -> None:
        others = [other for other in range(len(self.members)) if other != index]
        for effect in effects:
            match effect:
                case Broadcast(message):
                    self._send(index, others, message)
                case SendTo(peer, message):
                    self._send(index, [int(peer)], message)
                case StartTimer(timer, delay_ms):
                    replica = self.members[index].replica
                    self._later(delay_ms, index, lambda replica=replica, timer=timer: replica.on_timeout(timer))
                case Committed(final, _):
                    self._say(f"final {index} {final.block.header.height} {final.block.hash.hex()}")
                case BehindPeer(peer, _):
                    self._later(5, index, lambda peer=int(peer): self._sync(index, peer))
                case SigningRefused(_, _, reason):
                    self._say(f"refused {index} {reason}")
                case _:
                    pass

    def _send(self, index: int, others: list[int], message: Message) -> None:
        for vote in _votes(message):
            block = "nil" if vote.block is None else vote.block.hex()
            self._signed(vote.voter, vote.height, vote.round, int(vote.kind), block, vote.signature)
        if isinstance(message, ProposalMessage):
            said = message.proposal
            block = f"{said.block.hex()}/{said.valid_round}"
            self._signed(said.proposer, said.height, said.round, 0, block, said.signature)
        data = encode(ConsensusMessage(message))
        self._messages.extend((index, other, data) for other in others)

    def _signed(self, who: bytes, height: int, round_: int, step: int, block: str, signature: bytes) -> None:
        self._say(f"signed {who.hex()} {height} {round_} {step} {block} {signature.hex()}")

    def _later(self, delay_ms: int, index: int, fire: Callable[[], tuple[Effect, ...]]) -> None:
        self._turn += 1
        heapq.heappush(self._timers, (self._now_ms + delay_ms, self._turn, index, fire))

    def _sync(self, index: int, peer: int) -> tuple[Effect, ...]:
        member, source = self.members[index], self.members[peer].store
        effects: tuple[Effect, ...] = ()
        member.replica.begin_sync()
        for height in range(member.store.height() + 1, source.height() + 1):
            effects += member.replica.apply_synced(source.final_block(height))
        return effects + member.replica.end_sync()


def _votes(message: Message) -> tuple[Vote, ...]:
    match message:
        case VoteMessage(vote):
            return (vote,)
        case VotesMessage(votes):
            return votes
        case CertificateMessage(certificate):
            return certificate.votes()
        case ProposalMessage(_, _, polka):
            return () if polka is None else polka.votes()
        case _:
            return ()
