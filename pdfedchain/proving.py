"""Making light bundles: what a store hands out so that others need not trust it (`pdfedchain.light`).

Only the state after the last block is kept, so that is what values are proven of. A bundle may begin at genesis or at
any header that is still here; it then holds the changes of the authority set since, and the last block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from pdfedchain.crypto import StateProof, StateTree, hash_of, verify_absence, verify_presence
from pdfedchain.errors import InvalidProof, NotFound
from pdfedchain.limits import HANDOVERS_PER_BUNDLE_MAX
from pdfedchain.store.interface import Store
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import Header
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.light import HeaderAnchor, LightBlock, LightBundle, ValueProof
from pdfedchain.types.vote import Certificate, VoteKind

__all__ = ["ProvenValue", "light_bundle", "light_path"]


@dataclass(frozen=True, slots=True)
class ProvenValue:
    """A value of the state, or its absence, with all that convinces somebody who knows the authorities.

    Attributes:
        value: ``None`` where the key has none.
        header: of the block after which the state has this value.
        certificate: that block's finality.
    """

    key: bytes
    value: bytes | None
    proof: StateProof
    header: Header
    certificate: Certificate

    def verify(self, authorities: AuthoritySet, chain_id: str) -> None:
        """Check everything but who the authorities are.

        Raises:
            InvalidProof: it does not show that the key has this value.
        """
        expected = (VoteKind.PRECOMMIT, self.header.height, hash_of(self.header))
        if (self.certificate.kind, self.certificate.height, self.certificate.block) != expected:
            raise InvalidProof("the certificate is not this header's")
        self.certificate.verify(chain_id, authorities)
        if self.value is None:
            verify_absence(self.header.state_root, self.key, self.proof)
        else:
            verify_presence(self.header.state_root, self.key, self.value, self.proof)


def light_path(store: Store, *, from_height: int = 0) -> tuple[LightBlock, ...]:
    """The blocks after a height that a light client must follow to the last one, that one included.

    Where more than `limits.HANDOVERS_PER_BUNDLE_MAX` change the authority set, only so many: follow those, ask again.
    """
    last = store.height()
    between = store.handovers(from_height=from_height + 1, to_height=last - 1)
    path = tuple(islice(between, HANDOVERS_PER_BUNDLE_MAX))
    is_whole = len(path) < HANDOVERS_PER_BUNDLE_MAX
    return (*path, store.light_block(last)) if is_whole and last > from_height else path


def light_bundle(store: Store, keys: Iterable[bytes] = (), *, from_height: int = 0) -> LightBundle:
    """What convinces somebody who trusts the block of a height of the newest values of some keys.

    Args:
        from_height: of the trusted block; 0 for genesis.

    Raises:
        NotFound: there is no block yet, or that header is not here.
        Pruned: that header is not kept here.
    """
    genesis = store.genesis()
    if genesis is None or store.height() == 0:
        raise NotFound("nothing is certified before the first block", hint="wait for it")
    path, state = _path_and_state(store, from_height)
    values = tuple(ValueProof(key, state.get(key), state.prove(key)) for key in dict.fromkeys(keys))
    return LightBundle(genesis if from_height == 0 else _anchor(store, from_height), path, values)


def _path_and_state(store: Store, from_height: int) -> tuple[tuple[LightBlock, ...], StateTree]:
    """The path to a block and the state after it, although the store's owner may be committing the next one."""
    while True:
        state, path = store.state(), light_path(store, from_height=from_height)
        reached = path[-1] if path else store.light_block(from_height)
        if reached.header.state_root == state.root:
            return path, state
        if path and reached.is_handover and reached.header.height < store.height():
            raise NotFound(
                f"the authorities have changed too often since block {from_height} for one bundle",
                hint=f"follow them to block {reached.header.height} first (light_path), then begin there",
            )


def _anchor(store: Store, height: int) -> Genesis | HeaderAnchor:
    block = store.light_block(height)
    return HeaderAnchor(block.header, block.next_authorities or _authorities_before(store, height))


def _authorities_before(store: Store, height: int) -> AuthoritySet:
    """The set in force at a height after which it does not change."""
    named = [block.next_authorities for block in store.handovers(to_height=height)]
    genesis = store.genesis()
    assert genesis is not None, "a store with blocks has a genesis"
    return (named[-1] if named else None) or genesis.authorities
