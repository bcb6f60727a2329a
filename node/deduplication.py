"""De-duplication at the data loader: images found memorised leave further training.

PDFed, section 3.3: each node counts, per private training image, how often it was found memorised in any model the
node evaluated; the counts are min-max normalised over all images, and the images at or above the 95th percentile of
the memorised ones are left out. The evaluation that feeds the votes has found them already, so this costs nothing,
and it works across nodes that never see each other's images.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pdfedchain.errors import StateError
from pdfedchain.store.durable import replace_file

__all__ = ["MemorisationCounts", "excluded_images"]

PERCENTILE: Final = 95


def excluded_images(counts: dict[int, int]) -> tuple[int, ...]:
    """Indices to leave out, ascending.

    Args:
        counts: how often each image was found memorised; images never found may be missing.

    The percentile interpolates linearly, as NumPy's does. Min-max normalisation keeps the order of counts, so the rule
    is applied to the counts themselves. An image found no more often than the least memorised one never leaves: where
    all were found equally often nobody stands out.
    """
    memorised = sorted(count for count in counts.values() if count > 0)
    if not memorised:
        return ()
    whole, rest = divmod(PERCENTILE * (len(memorised) - 1), 100)
    above = memorised[min(whole + 1, len(memorised) - 1)]
    threshold = max(memorised[whole] + (above - memorised[whole]) * rest / 100, memorised[0] + 1)
    return tuple(sorted(index for index, count in counts.items() if count >= threshold))


class MemorisationCounts:
    """The counts of one node, in a private JSON file that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            StateError: the file exists and is not one of ours.
        """
        self._path = path
        self._counts: dict[int, int] = {}
        if path.exists():
            try:
                self._counts = {int(index): int(count) for index, count in json.loads(path.read_text()).items()}
            except (ValueError, AttributeError, TypeError) as error:
                raise StateError(f"{path} does not hold memorisation counts: {error}") from error

    @property
    def excluded(self) -> tuple[int, ...]:
        """Images that further training leaves out."""
        return excluded_images(self._counts)

    def add(self, memorised: Iterable[int]) -> None:
        """Count one evaluation; durable on return."""
        for index in memorised:
            self._counts[index] = self._counts.get(index, 0) + 1
        counts = {str(index): count for index, count in sorted(self._counts.items())}
        replace_file(self._path, json.dumps(counts).encode())
