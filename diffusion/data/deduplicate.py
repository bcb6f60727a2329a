"""De-duplication at the data loader, for programs that train by themselves.

PDFed, section 3.3: count for each private training image how often it was found memorised in a model that was
evaluated, normalise the counts by minimum and maximum, and leave out of further training those at or above the 95th
percentile of the memorised ones. `MemorisationCounts` counts and tells who is left out, `Deduplicated` is the data set
without them:

>>> counts = MemorisationCounts(5)
>>> for memorised in ([0, 3], [3], [3, 4]):  # what three models' scores found
...     counts.add(memorised)
>>> counts.normalised.round(2).tolist()
[0.33, 0.0, 0.0, 1.0, 0.33]
>>> list(Deduplicated("abcde", counts))
['a', 'b', 'c', 'e']

A node has the same rule without numpy (``node.deduplication``), since it runs without this package; a test holds the
two equal. What is found memorised of a folder, ``pdfed score --at-risk`` adds up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Deduplicated", "Indexable", "MemorisationCounts"]

_PERCENTILE: Final = 95


class Indexable(Protocol):
    """What can be wrapped: a list, an array, or a map-style data set of torch."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class MemorisationCounts:
    """How often each of N training images was found memorised.

    Args:
        counts: the number of images, or counts to go on from, int (N,).
    """

    def __init__(self, counts: int | NDArray[np.integer[Any]]) -> None:
        self.counts: NDArray[np.int64] = (
            np.zeros(counts, dtype=np.int64) if isinstance(counts, int) else counts.astype(np.int64)
        )

    def add(self, memorised: Iterable[int]) -> None:
        """Count one evaluated model: the images that had a confirmed match, each once.

        Raises:
            IndexError: there is no such image.
        """
        found = np.unique(np.fromiter(memorised, dtype=np.int64))
        if len(found) and not 0 <= found[0] <= found[-1] < len(self.counts):
            raise IndexError(f"image {found[-1] if found[0] >= 0 else found[0]} of {len(self.counts)}")
        self.counts[found] += 1

    @property
    def normalised(self) -> NDArray[np.float64]:
        """Counts from 0 to 1 by minimum and maximum; all 0 where they are equal."""
        low, high = (int(self.counts.min()), int(self.counts.max())) if len(self.counts) else (0, 0)
        return (self.counts - low) / max(high - low, 1)

    @property
    def left_out(self) -> NDArray[np.int64]:
        """Images at or above the 95th percentile of the memorised ones, ascending.

        One that was found no more often than the least of them never is: where all were found equally often nobody
        stands out.
        """
        memorised = self.counts > 0
        if not memorised.any():
            return np.zeros(0, dtype=np.int64)
        normalised = self.normalised
        threshold = np.percentile(normalised[memorised], _PERCENTILE)
        # the percentile interpolates: a rounding error must not move it past a count that it equals
        out = (normalised >= threshold - 1e-12) & (self.counts > self.counts[memorised].min())
        return np.flatnonzero(out).astype(np.int64)

    @property
    def kept(self) -> NDArray[np.int64]:
        """All others, ascending; ``LabelledImages.take`` and arrays take them as an index."""
        return np.setdiff1d(np.arange(len(self.counts)), self.left_out)


class Deduplicated:
    """A data set without the images that are left out; it follows the counts as they grow.

    Args:
        data: as many items as there are counts.
    """

    def __init__(self, data: Indexable, counts: MemorisationCounts) -> None:
        assert len(data) == len(counts.counts), (len(data), len(counts.counts))
        self.data, self.counts = data, counts

    def __len__(self) -> int:
        return len(self.counts.kept)

    def __getitem__(self, index: int) -> Any:
        return self.data[int(self.counts.kept[index])]

    def __iter__(self) -> Iterator[Any]:
        return (self.data[index] for index in self.counts.kept.tolist())
