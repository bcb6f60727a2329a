"""Splitting a data set into a public reference set and private shards, as a function of a seed alone.

The order of the images is a SHAKE-256 keyed permutation, not a library's random generator, so everybody who knows
the seed derives the same split with any version of anything. Every part has every class, in equal numbers as far
as the classes have images.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from diffusion.data.images import LabelledImages, Reference
from diffusion.errors import DatasetError
from pdfedchain.crypto import tagged_hash
from pdfedchain.ids import Hash

__all__ = ["Split", "images_per_class_min", "permutation", "split"]

#: Images in each of the two reference parts, spread over the classes.
_REFERENCE_SIZE: Final = 300
#: Below this many images of a class the class's retrieval threshold means nothing.
_REFERENCE_PER_CLASS_MIN: Final = 4


def permutation(size: int, seed: Hash) -> NDArray[np.int64]:
    """The numbers below ``size`` in an order fixed by the seed."""
    stream = hashlib.shake_256(tagged_hash("pdfed/split/v1", seed)).digest(8 * size)
    return np.argsort(np.frombuffer(stream, dtype="<u8"), kind="stable").astype(np.int64)


def images_per_class_min(shards: int) -> int:
    """How many images of each class a data set needs to be split into a reference set and so many shards."""
    return 4 * max(_REFERENCE_PER_CLASS_MIN, shards)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A data set divided: no image is in two parts.

    Attributes:
        reference: public images.
        shards: private images by shard; sizes differ by at most one.
        held_out: everything that is not public, that is all shards together, in order of class.
    """

    reference: Reference
    shards: tuple[LabelledImages, ...]
    held_out: LabelledImages


def split(data: LabelledImages, *, shards: int, seed: Hash) -> Split:
    """Reference set and ``shards`` private shards.

    Of each class at most a quarter goes to either reference part, the rest is dealt to the shards.

    Raises:
        DatasetError: a class has too few images.
    """
    classes = int(data.labels.max()) + 1
    needed = images_per_class_min(shards)
    quota = max(_REFERENCE_SIZE // classes, _REFERENCE_PER_CLASS_MIN)
    order = permutation(len(data), seed)
    test, train, rest = [], [], []
    for label in range(classes):
        members = order[data.labels[order] == label]
        if len(members) < needed:
            raise DatasetError(
                f"class {label} has {len(members)} images, {shards} shards and a reference set need {needed}",
                hint="Add images of this class, or use fewer nodes.",
            )
        share = min(quota, len(members) // 4)
        test.append(members[:share])
        train.append(members[share : 2 * share])
        rest.append(members[2 * share :])
    remaining = np.concatenate(rest)  # by class, so that dealing it out in turn balances the classes
    reference = Reference(
        train=data.take(np.sort(np.concatenate(train))), test=data.take(np.sort(np.concatenate(test)))
    )
    return Split(
        reference=reference,
        shards=tuple(data.take(np.sort(remaining[shard::shards])) for shard in range(shards)),
        held_out=data.take(remaining),
    )
