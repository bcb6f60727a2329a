"""What an interrupted training of a scorer needs to go on: weights, moments, steps done, and the random generator.

One safetensors file a network, replaced as a whole every some seconds. A network that is finished keeps its last state,
so the random numbers of the next one are the same again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import torch

from diffusion.errors import DatasetError, TensorFileError
from diffusion.tensorfile import read_tensors, write_tensors
from diffusion.train import FlatAdamW

__all__ = ["NOTHING_KEPT", "FileKeeper", "Keeper"]

_SIZE_BYTES_MAX: Final = 2**30


class Keeper:
    """Keeps nothing."""

    def resume(self, network: str, optimiser: FlatAdamW, rng: torch.Generator) -> int:
        """Bring back what was kept of a network, if anything, and return the steps done."""
        return 0

    def keep(self, network: str, steps: int, optimiser: FlatAdamW, rng: torch.Generator, *, last: bool) -> None:
        """Keep the state after so many steps, or not; ``last`` is always kept."""


NOTHING_KEPT: Final = Keeper()


class FileKeeper(Keeper):
    """Keeps it in a folder.

    Args:
        folder: exists already.
        every_s: seconds between two files.
    """

    def __init__(self, folder: Path, *, every_s: float = 10.0) -> None:
        self._folder, self._every_s = folder, every_s
        self._kept_at_s = time.monotonic()

    def resume(self, network: str, optimiser: FlatAdamW, rng: torch.Generator) -> int:
        """Bring it back.

        Raises:
            DatasetError: the file is damaged, or of another network.
        """
        path = self._path(network)
        if not path.exists():
            return 0
        try:
            state = read_tensors(path, size_bytes_max=_SIZE_BYTES_MAX)
            optimiser.restore(state)
            rng.set_state(torch.tensor(state["rng"]))
            return int(state["steps"])
        except (OSError, TensorFileError, KeyError, RuntimeError, TypeError) as error:
            raise DatasetError(f"{path} cannot be resumed from: {error}", hint=f"Remove {self._folder}.") from error

    def keep(self, network: str, steps: int, optimiser: FlatAdamW, rng: torch.Generator, *, last: bool) -> None:
        """Replace the file if it is old enough."""
        if not last and time.monotonic() - self._kept_at_s < self._every_s:
            return
        path = self._path(network)
        temporary = path.with_suffix(".tmp")
        write_tensors(temporary, optimiser.state() | {"rng": rng.get_state().numpy()})
        temporary.replace(path)
        self._kept_at_s = time.monotonic()

    def _path(self, network: str) -> Path:
        return self._folder / f"{network}.safetensors"
