"""An authority's secret side of the beacon: its chain of hashes, from its own key.

::

    start = SHA-256 tagged "pdfed/onion-start/v1" (key seed, salt)
    layer = SHA-256 tagged "pdfed/onion-layer/v1" (the layer below)
    anchor = the start after ``length`` layers

Layers are shown from the anchor inwards. Nothing but the key and the public salt is needed to compute any of them, so
there is nothing to lose: a restored backup of the key goes on where the chain is. The price of the other direction is
paid with marks every `_STRIDE` layers, computed once per process: 0.1 s for the usual length.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from pdfedchain.crypto import SigningKey, tagged_hash
from pdfedchain.ids import Hash
from pdfedchain.types.governance import Onion, OnionAnchor

__all__ = ["ONION_LENGTH", "OnionSecrets", "new_onion", "next_layer"]

#: Contributions of an onion that nothing else is said about. With 4 authorities and 2 blocks a second it lasts for
#: three days without a pause, and nodes renew theirs when an eighth is left.
ONION_LENGTH: Final = 131_072

_STRIDE: Final = 1_024
_LAYER_TAG: Final = "pdfed/onion-layer/v1"
_LAYER_PREFIX: Final = hashlib.sha256(_LAYER_TAG.encode()).digest()


def next_layer(value: Hash) -> Hash:
    """The layer around this one."""
    return tagged_hash(_LAYER_TAG, value)


class OnionSecrets:
    """Computes the layers of one key's onions."""

    def __init__(self, key: SigningKey) -> None:
        self._seed = key.seed
        self.address = key.address
        #: By salt: every `_STRIDE`-th layer from the start outwards, as far as was needed.
        self._marks: dict[Hash, list[Hash]] = {}

    def anchor(self, salt: Hash, length: int) -> OnionAnchor:
        """The public side of the onion of this salt."""
        return OnionAnchor(salt, length, self._layer(salt, length))

    def owns(self, onion: Onion) -> bool:
        """Whether the onion is this key's."""
        return self._layer(onion.salt, onion.remaining) == onion.last

    def preimage(self, onion: Onion) -> Hash:
        """What must be shown next of an onion of this key that is not used up."""
        assert onion.remaining, "something remains to be shown"
        return self._layer(onion.salt, onion.remaining - 1)

    def _layer(self, salt: Hash, count: int) -> Hash:
        marks = self._marks.setdefault(salt, [tagged_hash("pdfed/onion-start/v1", self._seed, salt)])
        while len(marks) <= count // _STRIDE:
            marks.append(_wrapped(marks[-1], _STRIDE))
        return _wrapped(marks[count // _STRIDE], count % _STRIDE)


def new_onion(key: SigningKey, length: int = ONION_LENGTH) -> OnionAnchor:
    """An onion of this key that was never used: its salt comes from the operating system's randomness."""
    return OnionSecrets(key).anchor(Hash(secrets.token_bytes(32)), length)


def _wrapped(value: bytes, count: int) -> Hash:
    sha256, prefix = hashlib.sha256, _LAYER_PREFIX
    for _ in range(count):
        value = sha256(prefix + value).digest()
    return Hash(value)
