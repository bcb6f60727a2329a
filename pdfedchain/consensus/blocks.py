"""Building blocks and the structural verdict: everything about a block that every node must find alike.

`build_block` and `verify_block` are inverse: what one makes, the other accepts, given the same `Position`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pdfedchain.application import Application, BlockContext, Execution, Rules, rules_of, versions_of, versions_text
from pdfedchain.consensus.ports import BlockStore
from pdfedchain.crypto import StateTree, tagged_hash
from pdfedchain.crypto.hash import hash_once
from pdfedchain.errors import InvalidBlock, UnsupportedVersion
from pdfedchain.ids import Address, Hash
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import Block, FinalBlock, Header
from pdfedchain.types.genesis import Genesis

__all__ = ["Position", "build_block", "position_after", "position_at_start", "position_of", "verify_block"]


@dataclass(frozen=True, slots=True)
class Position:
    """Where the next block goes: everything it is judged against.

    Attributes:
        height: of the next block.
        parent: hash of the block before, or of genesis.
        parent_time_ms: its time.
        state: after the parent.
        authorities: who votes on the next block.
        rules: its version and the pace of the chain.
    """

    genesis: Genesis
    height: int
    parent: Hash
    parent_time_ms: int
    state: StateTree
    authorities: AuthoritySet
    rules: Rules

    @property
    def time_ms_min(self) -> int:
        """The earliest time the next header may carry."""
        return self.parent_time_ms + self.rules.parameters.block_interval_min_ms

    def context(self, *, round_: int, time_ms: int, proposer: Address) -> BlockContext:
        """What the application is told about a block here.

        The beacon is a function of the parent: with a rotation of proposers, a proposer biases the next beacon
        by the choice of its block. A hash onion, in which every authority commits to its future
        contributions when it joins, would narrow that to one bit.
        """
        return BlockContext(
            chain_id=self.genesis.chain_id,
            version=self.rules.version,
            height=self.height,
            round=round_,
            time_ms=time_ms,
            parent=self.parent,
            proposer=proposer,
            beacon=_beacon(self.parent),
            authorities=self.authorities,
        )


@lru_cache(maxsize=16)
def _beacon(parent: Hash) -> Hash:
    # Asked for with every transaction that is checked.
    return tagged_hash("pdfed/beacon/v1", parent)


def position_at_start(genesis: Genesis, state: StateTree) -> Position:
    """Before the first block."""
    rules = Rules(genesis.version, genesis.parameters)
    return Position(genesis, 1, genesis.hash, genesis.time_ms, state, genesis.authorities, rules)


def position_after(application: Application, genesis: Genesis, final: FinalBlock, execution: Execution) -> Position:
    """After a final block."""
    return _on(application, genesis, final.block.header, execution.state, execution.next_authorities)


def position_of(application: Application, genesis: Genesis, store: BlockStore) -> Position:
    """On top of what a store holds.

    Raises:
        UnsupportedVersion: this program cannot execute the next block.
    """
    height = store.height()
    last = store.light_block(height).header if height else None
    return _on(application, genesis, last, store.state(), store.next_authorities())


def _on(
    application: Application, genesis: Genesis, last: Header | None, state: StateTree, authorities: AuthoritySet
) -> Position:
    """
    Args:
        last: header of the newest block; ``None`` before the first.
        authorities: who votes on the next block.

    Raises:
        UnsupportedVersion: this program cannot execute the next block.
    """
    if last is None:
        height, parent, time_ms = 1, genesis.hash, genesis.time_ms
    else:
        height, parent, time_ms = last.height + 1, hash_once(last), last.time_ms
    rules, versions = rules_of(application, genesis, state, height), versions_of(application)
    if rules.version not in versions:
        raise UnsupportedVersion(
            f"block {height} and later ones are of version {rules.version} of {application.name},"
            f" this program executes version {versions_text(versions)}",
            hint=f"install a release that executes version {rules.version} and start the node again; nothing is lost",
        )
    return Position(genesis, height, parent, time_ms, state, authorities, rules)


def build_block(
    application: Application,
    position: Position,
    *,
    round_: int,
    time_ms: int,
    proposer: Address,
    candidates: Sequence[bytes],
) -> tuple[Block, Execution]:
    """Ask the application for a body and make the block.

    Args:
        time_ms: at least ``position.time_ms_min``.
        candidates: encoded transactions to choose from.
    """
    assert time_ms >= position.time_ms_min
    size_bytes_max = position.rules.parameters.block_size_bytes_max
    context = position.context(round_=round_, time_ms=time_ms, proposer=proposer)
    chosen = list(candidates)
    while True:
        block, execution = _assemble(application, position, context, chosen)
        if block.size_bytes <= size_bytes_max or not chosen:
            return block, execution
        # Only here is the encoded size known; the next blocks take what is left out.
        chosen = chosen[: len(chosen) // 2]


def _assemble(
    application: Application, position: Position, context: BlockContext, candidates: Sequence[bytes]
) -> tuple[Block, Execution]:
    body = application.propose(position.state, context, candidates)
    execution = application.execute(position.state, context, body)
    header = Header(
        version=position.rules.version,
        chain_id=position.genesis.chain_id,
        height=position.height,
        round=context.round,
        time_ms=context.time_ms,
        parent=position.parent,
        proposer=context.proposer,
        body=body.hash,
        state_root=execution.state.root,
        authorities=hash_once(position.authorities),
        next_authorities=hash_once(execution.next_authorities),
    )
    return Block(header, body), execution


def verify_block(application: Application, position: Position, block: Block) -> Execution:
    """The structural verdict: the same on every node.

    Raises:
        InvalidBlock: no honest authority may ever vote for it here.
    """
    header, genesis = block.header, position.genesis
    expected: tuple[tuple[str, object, object], ...] = (
        ("version", position.rules.version, header.version),
        ("chain", genesis.chain_id, header.chain_id),
        ("height", position.height, header.height),
        ("parent", position.parent, header.parent),
        ("proposer", position.authorities.proposer(header.height, header.round), header.proposer),
        ("authorities", hash_once(position.authorities), header.authorities),
        ("body", block.body.hash, header.body),
    )
    for name, wanted, found in expected:
        _equal(name, wanted, found)
    if header.time_ms < position.time_ms_min:
        raise InvalidBlock(f"time {header.time_ms} is below {position.time_ms_min}, the parent's and the interval")
    size_bytes, size_bytes_max = block.size_bytes, position.rules.parameters.block_size_bytes_max
    if size_bytes > size_bytes_max:
        raise InvalidBlock(f"{size_bytes} bytes, at most {size_bytes_max} allowed")
    context = position.context(round_=header.round, time_ms=header.time_ms, proposer=header.proposer)
    execution = application.execute(position.state, context, block.body)
    _equal("state root", execution.state.root, header.state_root)
    _equal("next authorities", hash_once(execution.next_authorities), header.next_authorities)
    return execution


def _equal(name: str, expected: object, found: object) -> None:
    if expected != found:
        raise InvalidBlock(f"{name}: expected {_text(expected)}, found {_text(found)}")


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
