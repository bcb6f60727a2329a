"""What every store refuses, in one wording."""

from __future__ import annotations

from pdfedchain.application import Execution
from pdfedchain.errors import NotFound, StateError
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.genesis import Genesis

__all__ = ["check_follows", "empty_store", "not_empty"]


def empty_store() -> NotFound:
    """Nothing can be read before `Store.initialise`."""
    return NotFound("the store is empty", hint="initialise it with a genesis first")


def not_empty(genesis: Genesis) -> StateError:
    """A store holds one chain for good."""
    return StateError(
        f"the store holds chain {genesis.chain_id!r} already", hint="use an empty folder for another chain"
    )


def check_follows(final: FinalBlock, execution: Execution, genesis: Genesis | None, last: FinalBlock | None) -> None:
    """Check that a block to be stored is the next one and that its execution is what its header says.

    Raises:
        NotFound: the store is empty.
        StateError: the block is not the next one, or belongs to another execution.
    """
    if genesis is None:
        raise empty_store()
    header = final.block.header
    height, parent = (0, genesis.hash) if last is None else (last.block.header.height, last.block.hash)
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
