"""Short-hand for tests of consensus: four authorities, votes, proposals, a core and a replica."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from pdfedchain.application import Judgement
from pdfedchain.consensus.blocks import Position, build_block, position_at_start
from pdfedchain.consensus.effects import CastVote, CoreEffect, Effect, NeedJudgement
from pdfedchain.consensus.engine import Engine
from pdfedchain.consensus.inputs import Begin, CertificateReceived, Judged, ProposalReceived, VoteReceived
from pdfedchain.consensus.messages import ProposalMessage
from pdfedchain.consensus.replica import Replica
from pdfedchain.crypto import SigningKey
from pdfedchain.ids import Hash
from pdfedchain.store.memory import MemoryStore
from pdfedchain.store.signer import MemorySigner
from pdfedchain.store.wal import MemoryLog
from pdfedchain.testing.counter import CounterApplication
from pdfedchain.testing.simulator import START_MS, make_genesis, make_keys
from pdfedchain.types.block import Block
from pdfedchain.types.genesis import ChainParameters, Genesis
from pdfedchain.types.vote import NO_ROUND, Certificate, Proposal, Vote, VoteKind

T = TypeVar("T")

PREVOTE, PRECOMMIT = VoteKind.PREVOTE, VoteKind.PRECOMMIT
CHAIN = "simulated"

KEYS = make_keys(4)
GENESIS = make_genesis(KEYS, ChainParameters())
AUTHORITIES = GENESIS.authorities
#: Height 1 is proposed by member 1 in round 0, member 2 in round 1, and so on.
A, B = Hash(b"a" * 32), Hash(b"b" * 32)


def proposer_of(round_: int, height: int = 1) -> SigningKey:
    address = AUTHORITIES.proposer(height, round_)
    return next(key for key in KEYS if key.address == address)


def vote(
    key: SigningKey, kind: VoteKind, block: Hash | None, *, round_: int = 0, height: int = 1, chain: str = CHAIN
) -> Vote:
    unsigned = Vote(chain, 0, height, round_, kind, block, key.address, bytes(64))
    return replace(unsigned, signature=key.sign(unsigned.signing_bytes()))


def certificate(
    kind: VoteKind, block: Hash | None, *, round_: int = 0, height: int = 1, keys: Iterable[SigningKey] = KEYS[:3]
) -> Certificate:
    return Certificate.of(vote(key, kind, block, round_=round_, height=height) for key in keys)


def proposal(
    block: Hash, *, round_: int = 0, valid_round: int = NO_ROUND, height: int = 1, key: SigningKey | None = None
) -> Proposal:
    signer = key if key is not None else proposer_of(round_, height)
    unsigned = Proposal(CHAIN, 0, height, round_, valid_round, block, signer.address, bytes(64))
    return replace(unsigned, signature=signer.sign(unsigned.signing_bytes()))


class Core:
    """An engine of member ``me`` at height 1, begun unless told otherwise; judges as told."""

    def __init__(
        self, me: int | None = 0, *, begun: bool = True, judgement: Judgement | None = Judgement.VALID
    ) -> None:
        self.engine = Engine(
            height=1,
            authorities=AUTHORITIES,
            parameters=ChainParameters(),
            me=None if me is None else KEYS[me].address,
        )
        self.me = None if me is None else KEYS[me]
        self.judgement = judgement
        self.effects: list[CoreEffect] = []
        if begun:
            self.give(Begin())

    def give(self, *inputs: object) -> list[CoreEffect]:
        """Feed inputs, own votes and judgements; return all effects in order."""
        effects: list[CoreEffect] = []
        queue = list(inputs)
        while queue:
            for effect in self.engine.handle(queue.pop(0)):  # type: ignore[arg-type]
                effects.append(effect)
                if isinstance(effect, CastVote) and self.me is not None:
                    queue.append(VoteReceived(vote(self.me, effect.kind, effect.block, round_=effect.round)))
                if isinstance(effect, NeedJudgement) and self.judgement is not None:
                    queue.append(Judged(effect.block, self.judgement))
        self.effects += effects
        return effects

    def votes(self, kind: VoteKind, block: Hash | None, *members: int, round_: int = 0) -> list[CoreEffect]:
        return self.give(*(VoteReceived(vote(KEYS[m], kind, block, round_=round_)) for m in members))

    def propose(
        self,
        block: Hash,
        *,
        round_: int = 0,
        valid_round: int = NO_ROUND,
        header_round: int | None = None,
        valid: bool = True,
    ) -> list[CoreEffect]:
        made = proposal(block, round_=round_, valid_round=valid_round)
        fresh_round = round_ if valid_round == NO_ROUND else valid_round
        return self.give(ProposalReceived(made, fresh_round if header_round is None else header_round, valid))

    def polka(self, block: Hash | None, *, round_: int = 0) -> list[CoreEffect]:
        return self.give(CertificateReceived(certificate(PREVOTE, block, round_=round_, keys=KEYS[1:])))

    @property
    def cast(self) -> list[tuple[int, VoteKind, Hash | None]]:
        """Own votes so far."""
        return [(e.round, e.kind, e.block) for e in self.effects if isinstance(e, CastVote)]


class Home:
    """What one node keeps on disk, and the way to start a replica on it."""

    def __init__(
        self,
        me: int | None = 0,
        *,
        genesis: Genesis = GENESIS,
        keys: list[SigningKey] = KEYS,
        application: CounterApplication | None = None,
    ) -> None:
        self.genesis = genesis
        self.key = None if me is None else keys[me]
        self.application = application if application is not None else CounterApplication()
        self.store = MemoryStore()
        self.store.initialise(genesis, self.application.genesis_state(genesis))
        self.log = MemoryLog()
        self.signer = MemorySigner()
        self.now_ms = START_MS
        self.pool: list[bytes] = []

    def replica(self, **changed: object) -> Replica:
        arguments: dict[str, object] = {
            "application": self.application,
            "store": self.store,
            "log": self.log,
            "signer": self.signer if self.key is not None else None,
            "key": self.key,
            "clock": lambda: self.now_ms,
            "candidates": lambda: tuple(self.pool),
        }
        return Replica(**(arguments | changed))  # type: ignore[arg-type]

    @property
    def position(self) -> Position:
        return position_at_start(self.genesis, self.store.state())


def block_of(
    round_: int,
    *,
    transactions: Iterable[bytes] = (),
    time_ms: int = START_MS + 1_000,
    application: CounterApplication | None = None,
) -> Block:
    """The block that an honest proposer of this round of height 1 makes."""
    home = Home()
    app = application if application is not None else CounterApplication()
    block, _ = build_block(
        app,
        home.position,
        round_=round_,
        time_ms=time_ms,
        proposer=proposer_of(round_).address,
        candidates=tuple(transactions),
    )
    return block


def proposed(
    block: Block, *, round_: int | None = None, valid_round: int = NO_ROUND, polka: Certificate | None = None
) -> ProposalMessage:
    at = block.header.round if round_ is None else round_
    return ProposalMessage(proposal(block.hash, round_=at, valid_round=valid_round), block, polka)


def of_type(effects: Iterable[Effect | CoreEffect], kind: type[T]) -> list[T]:
    return [effect for effect in effects if isinstance(effect, kind)]
