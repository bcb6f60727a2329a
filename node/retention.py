"""Which weights a chain still needs, so that a node may delete the others.

::

    reference images and scorer of every task      always
    queued, submitted, held, scoring               always: they are being judged
    accepted, quarantined                          always: parents, provenance, export
    rejected                                       for ``rejected_for`` blocks after it was settled, for audits

What a node has made and not yet submitted is on no chain; the store's period of grace keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pdfedchain.ids import Cid
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus
from pdfedchain.types.task import TaskSpec

__all__ = ["REJECTED_FOR", "needed_weights"]

#: Blocks for which rejected weights are kept where nobody says anything.
REJECTED_FOR: Final = 1_000


def needed_weights(
    tasks: Iterable[TaskSpec], checkpoints: Iterable[Checkpoint], height: int, rejected_for: int = REJECTED_FOR
) -> dict[Cid, str]:
    """Folders that the chain needs at a height, each with the reason in a few words.

    Args:
        rejected_for: blocks for which rejected weights are kept.
    """
    found: dict[Cid, str] = {}
    for task in tasks:
        found[task.reference] = f"reference of {task.name}"
        found[task.scorer] = f"scorer of {task.name}"
    for checkpoint in checkpoints:
        if checkpoint.status is CheckpointStatus.REJECTED:
            assert checkpoint.settled_height is not None, "what is rejected is settled"
            if height - checkpoint.settled_height > rejected_for:
                continue
        found.setdefault(checkpoint.weights, f"checkpoint, {checkpoint.status.value}")
    return found
