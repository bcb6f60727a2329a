"""What every store refuses, in one wording."""

from __future__ import annotations

from pdfedchain.application import Execution
from pdfedchain.crypto import StateTree, hash_of
from pdfedchain.errors import NotFound, Pruned, StateError
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.light import LightBlock

__all__ = ["check_follows", "check_restored", "empty_store", "light_block_of", "not_empty", "not_here"]


def empty_store() -> NotFound:
    """Nothing can be read before `Store.initialise`."""
    return NotFound("the store is empty", hint="initialise it with a genesis first")


def not_empty(genesis: Genesis) -> StateError:
    """A store holds one chain for good."""
    return StateError(
        f"the store holds chain {genesis.chain_id!r} already", hint="use an empty folder for another chain"
    )


def not_here(what: str, height: int, *, kept_from: int, last: int) -> NotFound:
    """Why something of a block is not there.

    Args:
        kept_from: below it nothing is promised.
        last: height of the last block.
    """
    if 1 <= height < kept_from:
        return Pruned(
            f"{what} {height} is pruned: this store keeps them from {kept_from} on",
            hint="ask a node that keeps all blocks",
        )
    return NotFound(f"no {what} {height} is stored; the last one is {last}")


def light_block_of(final: FinalBlock, execution: Execution) -> LightBlock:
    """What stays of a block when its body is pruned."""
    header = final.block.header
    changes = header.next_authorities != header.authorities
    return LightBlock(header, final.certificate, execution.next_authorities if changes else None)


def check_restored(present: Genesis | None, last: LightBlock, state: StateTree, authorities: AuthoritySet) -> None:
    """Check that a store may begin after ``last``.

    Raises:
        StateError: it holds a chain, or state or authorities are not those that the header names.
    """
    if present is not None:
        raise not_empty(present)
    header = last.header
    if header.state_root != state.root:
        raise StateError(
            f"block {header.height} states the root {header.state_root.hex()},"
            f" the state to restore has {state.root.hex()}"
        )
    if header.next_authorities != hash_of(authorities):
        raise StateError(f"block {header.height} names other authorities for the next block than those to restore")


def check_follows(final: FinalBlock, execution: Execution, genesis: Genesis | None, last: LightBlock | None) -> None:
    """Check that a block to be stored is the next one and that its execution is what its header says.

    Raises:
        NotFound: the store is empty.
        StateError: the block is not the next one, or belongs to another execution.
    """
    if genesis is None:
        raise empty_store()
    header = final.block.header
    height, parent = (0, genesis.hash) if last is None else (last.header.height, last.hash)
    if (header.height, header.parent) != (height + 1, parent):
        raise StateError(
            f"block {header.height} with parent {header.parent.hex()} does not follow block {height} {parent.hex()}"
        )
    if (final.certificate.height, final.certificate.block) != (header.height, final.block.hash):
        raise StateError(f"the certificate handed over with block {header.height} is another block's")
    if execution.state.root != header.state_root:
        raise StateError(
            f"block {header.height} states the root {header.state_root.hex()}, its execution has the root"
            f" {execution.state.root.hex()}"
        )
