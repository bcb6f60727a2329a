"""Final blocks of a small chain, made without consensus: a list of words is its application."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pdfedchain.application import BlockContext, Execution, Judgement
from pdfedchain.consensus.blocks import Position, build_block, position_after, position_at_start
from pdfedchain.crypto import SigningKey, StateTree
from pdfedchain.errors import InvalidBlock, InvalidTransaction
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import Block, BlockBody, FinalBlock
from pdfedchain.types.event import Event
from pdfedchain.types.genesis import ChainParameters, Genesis
from pdfedchain.types.vote import Certificate, Vote, VoteKind
from tests.pdfedchain.ledger_world import START_MS, key_of


class Words:
    """``key=value`` writes a value, ``-key`` deletes one, ``!`` is refused. Every word is an event about its key.

    ``@name name`` makes those of these names the authorities of the next block.
    """

    name: str = "words"
    version: int = 1

    def genesis_state(self, genesis: Genesis) -> StateTree:
        return StateTree().put(b"genesis", genesis.application_state)

    def check(self, state: StateTree, context: BlockContext, transaction: bytes) -> None:
        if transaction.startswith(b"!"):
            raise InvalidTransaction("exclamation", "words are written quietly")

    def propose(self, state: StateTree, context: BlockContext, candidates: Sequence[bytes]) -> BlockBody:
        return BlockBody(tuple(word for word in candidates if not word.startswith(b"!")), b"")

    def execute(self, state: StateTree, context: BlockContext, body: BlockBody) -> Execution:
        events = []
        authorities = context.authorities
        for word in body.transactions:
            if word.startswith(b"!"):
                raise InvalidBlock("an exclamation")
            if word.startswith(b"@"):
                members = tuple(key_of(name).address for name in word[1:].decode().split())
                authorities = AuthoritySet(context.authorities.set_id + 1, members)
                continue
            key, _, value = word.lstrip(b"-").partition(b"=")
            state = state.delete(key) if word.startswith(b"-") else state.put(key, value)
            events.append(Event("deleted" if word.startswith(b"-") else "written", (key, b"any"), value))
        subjects = tuple((word.lstrip(b"-").partition(b"=")[0], b"any") for word in body.transactions)
        return Execution(state, tuple(events), authorities, subjects)

    def judge(self, state: StateTree, context: BlockContext, body: BlockBody) -> Judgement:
        return Judgement.VALID

    def has_open_deadline(self, state: StateTree) -> bool:
        return False


KEY_OF = {key.address: key for key in (key_of(f"authority{i}") for i in range(10))}


def words_genesis(authorities: int = 1, text: bytes = b"once upon a time") -> Genesis:
    members = tuple(key_of(f"authority{i}").address for i in range(authorities))
    return Genesis("words", START_MS, 1, AuthoritySet(0, members), ChainParameters(), "words", text)


def certified(block: Block, authorities: AuthoritySet, keys: Sequence[SigningKey]) -> FinalBlock:
    """The block with one precommit of each key."""
    header = block.header
    votes = []
    for key in keys:
        unsigned = Vote(
            header.chain_id,
            authorities.set_id,
            header.height,
            header.round,
            VoteKind.PRECOMMIT,
            block.hash,
            key.address,
            bytes(64),
        )
        votes.append(
            Vote(
                unsigned.chain_id,
                unsigned.set_id,
                unsigned.height,
                unsigned.round,
                unsigned.kind,
                unsigned.block,
                key.address,
                key.sign(unsigned.signing_bytes()),
            )
        )
    return FinalBlock(block, Certificate.of(votes))


@dataclass
class Maker:
    """Makes one final block after another."""

    genesis: Genesis
    application: Words
    position: Position

    @classmethod
    def start(cls, genesis: Genesis | None = None) -> Maker:
        genesis = genesis or words_genesis()
        application = Words()
        return cls(genesis, application, position_at_start(genesis, application.genesis_state(genesis)))

    def next(self, *words: bytes) -> tuple[FinalBlock, Execution]:
        """The next final block; it does not move on."""
        position = self.position
        block, execution = build_block(
            self.application,
            position,
            round_=0,
            time_ms=position.time_ms_min,
            proposer=position.authorities.proposer(position.height, 0),
            candidates=words,
        )
        keys = [KEY_OF[member] for member in position.authorities.members]
        return certified(block, position.authorities, keys), execution

    def advance(self, *words: bytes) -> tuple[FinalBlock, Execution]:
        """The next final block, and move on."""
        final, execution = self.next(*words)
        self.position = position_after(self.application, self.genesis, final, execution)
        return final, execution
