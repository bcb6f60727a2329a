"""A participant that trains nothing and submits the folders it is given, one after the other.

A folder ``F`` comes with ``F.digest``, the hexadecimal weights digest its author claims.
"""

from pathlib import Path

import trio

from node.participant import Participant
from pdfedchain.ids import Hash
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.transaction import SubmitCheckpoint, TrainingClaim
from tests.e2e.actors.start import start


def planter(folders: list[Path]) -> type[Participant]:
    """A participant class that submits ``folders`` in order, then nothing."""

    class Planter(Participant):
        async def make_checkpoint(self, task_id: Hash, task: TaskSpec) -> SubmitCheckpoint:
            if not folders:
                await trio.sleep_forever()
            folder = folders.pop(0)
            weights = await self._tools.library.add(folder)
            digest = Hash(bytes.fromhex(folder.with_suffix(".digest").read_text().strip()))
            size_bytes = self._tools.library.store.total_size(weights)
            claim = TrainingClaim(1, 1, 1, 1, self._settings.data_commitment)
            return SubmitCheckpoint(task_id, weights, digest, size_bytes, (), claim)

    return Planter


if __name__ == "__main__":
    start(lambda home, rest: {"participant": planter([Path(argument) for argument in rest])})
