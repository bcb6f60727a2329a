"""The light client: untrusted bytes in, trusted objects out. No database, no network, no clock of its own.

Somebody who trusts one hash (of genesis, or of a header that a friend read out) can believe what a stranger says about
the chain's state, if the stranger shows

1. what the hash is of: the *anchor*, which names the first authorities to trust;
2. the headers after which other authorities vote, each certified by those before (`LightClient.follow`);
3. a header certified by the authorities of that moment, with the root of the state;
4. Merkle proofs from that root to values, or to their absence (`LightClient.values`).

::

    from_genesis ──► head: genesis ──follow──► head: block ──follow──► head: later block ...
    from_header ─────────────────────────────► head: block           │
                                                    └──── values ────┴──► ProvenState of that block

The rules, for a client whose *head* is the newest header it trusts:

* Headers are followed in order of height; none is ever taken back.
* Between two headers any number may be left out, as long as the authorities are the same. That is sound because a
  quorum of them certified the later header: a third or more would have to vote at a height where they have no vote.
* With ``trusting_period_ms`` a head older than that by the caller's clock is of no use: neither can anything be
  followed from it, nor a value believed. Former authorities have nothing to lose, and forging a history needs only
  their old keys. Whoever gives no period says that those keys are kept safe for good.
* A header may be ahead of the caller's clock by a bound only, so a forged future cannot outlast the period.
* Every refusal is an error of its own (`pdfedchain.light.errors`), and changes nothing.

Modelled on ``TrustedMetadataSet`` of python-tuf; the rule for leaving out headers is that of CometBFT's light client
with its trust threshold set to a full quorum of the same set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pdfedchain.codec import decode, encode
from pdfedchain.crypto import hash_of, verify_absence, verify_presence
from pdfedchain.errors import InvalidProof
from pdfedchain.ids import Hash
from pdfedchain.light.errors import (
    BadCertificate,
    BadHandover,
    BadValue,
    BrokenLink,
    ForkDetected,
    FromTheFuture,
    LightError,
    NotNewer,
    NotProven,
    TrustExpired,
    UnknownAuthorities,
    UntrustedAnchor,
    WrongChain,
)
from pdfedchain.limits import LIGHT_BLOCK_SIZE_BYTES_MAX, LIGHT_BUNDLE_SIZE_BYTES_MAX
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import Header
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.light import HeaderAnchor, LightBlock, LightBundle, ValueProof
from pdfedchain.types.vote import VoteKind

__all__ = ["Head", "LightClient", "ProvenState", "verify_bundle"]

#: How far a header may be ahead of the caller's clock; nodes prevote within `ChainParameters.clock_bound_ms` of theirs.
CLOCK_BOUND_MS: Final = 60_000

_GENESIS_SIZE_BYTES_MAX: Final = 2**26
_VALUE_PROOF_SIZE_BYTES_MAX: Final = 2**22


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block a client trusts.

    Attributes:
        hash: of the block; at height 0, of genesis.
        state_root: of the state after it; ``None`` for genesis, which names none.
        next_authorities: who vote on the next block.
        header: ``None`` for genesis.
        block: ``None`` for the anchor, which is trusted for its hash and not for a certificate.
    """

    chain_id: str
    height: int
    time_ms: int
    hash: Hash
    state_root: Hash | None
    next_authorities: AuthoritySet
    header: Header | None
    block: LightBlock | None


class ProvenState:
    """The part of a state that was shown. `pdfedchain.state.LedgerView` reads it as it reads a whole one.

    Attributes:
        head: the block after which the state is like this.
    """

    __slots__ = ("_values", "head")

    def __init__(self, head: Head, values: dict[bytes, bytes | None]) -> None:
        self.head = head
        self._values = values

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, ``None`` where the key was shown to have none.

        Raises:
            NotProven: nothing was shown about it.
        """
        try:
            return self._values[key]
        except KeyError:
            raise NotProven(f"nothing was shown about the key {key!r}") from None

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys something was shown about, in the order of being shown."""
        return tuple(self._values)


class LightClient:
    """See the module's text.

    Attributes:
        head: the newest block it trusts.
    """

    def __init__(
        self, head: Head, *, trusting_period_ms: int | None = None, clock_bound_ms: int = CLOCK_BOUND_MS
    ) -> None:
        """Use `from_genesis` or `from_header`, unless ``head`` was trusted before and kept."""
        self.head = head
        self._trusting_period_ms = trusting_period_ms
        self._clock_bound_ms = clock_bound_ms
        self._authorities: AuthoritySet | None = None

    @classmethod
    def from_genesis(
        cls,
        genesis: bytes,
        trusted: Hash,
        *,
        trusting_period_ms: int | None = None,
        clock_bound_ms: int = CLOCK_BOUND_MS,
    ) -> LightClient:
        """Begin with an encoded `Genesis`.

        Args:
            trusted: the genesis hash, from somebody one trusts.
            trusting_period_ms: how old the head may be to be of use; any age if ``None``.
            clock_bound_ms: how far ahead of the caller's clock a header may be.

        Raises:
            DecodeError: it is no genesis.
            UntrustedAnchor: it is another one.
        """
        anchor = decode(Genesis, genesis, size_bytes_max=_GENESIS_SIZE_BYTES_MAX)
        head = _anchored(anchor, trusted)
        return cls(head, trusting_period_ms=trusting_period_ms, clock_bound_ms=clock_bound_ms)

    @classmethod
    def from_header(
        cls,
        anchor: bytes,
        trusted: Hash,
        *,
        trusting_period_ms: int | None = None,
        clock_bound_ms: int = CLOCK_BOUND_MS,
    ) -> LightClient:
        """Begin with an encoded `HeaderAnchor`; ``trusted`` is the block's hash. See `from_genesis`.

        Raises:
            DecodeError: it is no anchor.
            UntrustedAnchor: it is another one.
            BadHandover: the authorities are not those that the header names.
        """
        head = _anchored(decode(HeaderAnchor, anchor, size_bytes_max=LIGHT_BLOCK_SIZE_BYTES_MAX), trusted)
        return cls(head, trusting_period_ms=trusting_period_ms, clock_bound_ms=clock_bound_ms)

    def anchor(self) -> bytes:
        """What to keep in order to begin from this head another time: for `from_header`, with `Head.hash`.

        Raises:
            LightError: the head is genesis; keep that.
        """
        if self.head.header is None:
            raise LightError("the head is genesis, which is an anchor itself", hint="follow a block first")
        return encode(HeaderAnchor(self.head.header, self.head.next_authorities))

    def follow(self, block: bytes, *, now_ms: int) -> Head:
        """Trust a later block, an encoded `LightBlock`.

        Args:
            now_ms: the caller's clock, milliseconds since the Unix epoch.

        Returns:
            The new head.

        Raises:
            DecodeError: it is no light block.
            LightError: it does not convince; the subclass says why. The head is as before.
        """
        return self._follow(decode(LightBlock, block, size_bytes_max=LIGHT_BLOCK_SIZE_BYTES_MAX), now_ms)

    def values(self, proofs: Iterable[bytes], *, now_ms: int) -> ProvenState:
        """Believe values of the state after the head, each an encoded `ValueProof`.

        Raises:
            DecodeError: one is no proof.
            BadValue: the state does not contain what one says.
            TrustExpired: the head is too old.
        """
        return self._values(
            [decode(ValueProof, proof, size_bytes_max=_VALUE_PROOF_SIZE_BYTES_MAX) for proof in proofs], now_ms
        )

    def _follow(self, block: LightBlock, now_ms: int) -> Head:
        header = block.header
        self._check_fresh(now_ms)
        self._check_place(block, now_ms)
        _check_certificate(block, self.head.next_authorities)
        following = _handed_over(block, self.head.next_authorities)
        self._authorities = self.head.next_authorities
        self.head = Head(
            self.head.chain_id, header.height, header.time_ms, block.hash, header.state_root, following, header, block
        )
        return self.head

    def _check_fresh(self, now_ms: int) -> None:
        period_ms, head = self._trusting_period_ms, self.head
        if period_ms is not None and head.time_ms + period_ms <= now_ms:
            raise TrustExpired(
                f"block {head.height} is of {head.time_ms} ms and trusted for {period_ms} ms; it is {now_ms} ms",
                hint="get a newer trusted hash from somebody you trust",
            )

    def _check_place(self, block: LightBlock, now_ms: int) -> None:
        """Whether the block stands where a block after the head must stand, whoever certified it."""
        header, head = block.header, self.head
        if header.chain_id != head.chain_id:
            raise WrongChain(f"a header of chain {header.chain_id!r}; expected {head.chain_id!r}")
        if header.height <= head.height:
            self._look_for_fork(block)
            raise NotNewer(f"block {header.height} is not above block {head.height}, which is trusted already")
        if header.time_ms <= head.time_ms:
            raise NotNewer(f"block {header.height} is of {header.time_ms} ms, block {head.height} of {head.time_ms} ms")
        if header.time_ms > now_ms + self._clock_bound_ms:
            raise FromTheFuture(
                f"block {header.height} is of {header.time_ms} ms; it is {now_ms} ms", hint="check the clock"
            )
        if header.height == head.height + 1 and header.parent != head.hash:
            raise BrokenLink(f"block {header.height} follows {header.parent.hex()}, not {head.hash.hex()}")
        if header.authorities != hash_of(head.next_authorities):
            raise UnknownAuthorities(
                f"block {header.height} is of authorities {header.authorities.hex()}; after block {head.height}"
                f" those of set {head.next_authorities.set_id} are trusted",
                hint="show the blocks between that hand over to other authorities",
            )

    def _look_for_fork(self, block: LightBlock) -> None:
        trusted, authorities = self.head.block, self._authorities
        if trusted is None or authorities is None:
            return
        if block.header.height == trusted.header.height and block.hash != trusted.hash:
            _check_certificate(block, authorities)
            raise ForkDetected(trusted, block)

    def _values(self, proofs: Iterable[ValueProof], now_ms: int) -> ProvenState:
        self._check_fresh(now_ms)
        values: dict[bytes, bytes | None] = {}
        for proof in proofs:
            if self.head.state_root is None:
                raise BadValue("genesis names no root of a state", hint="follow a block first")
            try:
                if proof.value is None:
                    verify_absence(self.head.state_root, proof.key, proof.proof)
                else:
                    verify_presence(self.head.state_root, proof.key, proof.value, proof.proof)
            except InvalidProof as error:
                raise BadValue(f"key {proof.key!r} after block {self.head.height}: {error}") from error
            values[proof.key] = proof.value
        return ProvenState(self.head, values)


def verify_bundle(
    bundle: bytes,
    trusted: Hash,
    *,
    now_ms: int,
    trusting_period_ms: int | None = None,
    clock_bound_ms: int = CLOCK_BOUND_MS,
) -> ProvenState:
    """Everything at once: believe the values of an encoded `LightBundle`. Arguments as for `LightClient`.

    Raises:
        DecodeError: it is no bundle.
        LightError: it does not convince; the subclass says why.
    """
    opened = decode(LightBundle, bundle, size_bytes_max=LIGHT_BUNDLE_SIZE_BYTES_MAX)
    head = _anchored(opened.anchor, trusted)
    client = LightClient(head, trusting_period_ms=trusting_period_ms, clock_bound_ms=clock_bound_ms)
    for block in opened.blocks:
        client._follow(block, now_ms)
    return client._values(opened.values, now_ms)


def _anchored(anchor: Genesis | HeaderAnchor, trusted: Hash) -> Head:
    found = anchor.hash if isinstance(anchor, Genesis) else hash_of(anchor.header)
    if found != trusted:
        what = "genesis" if isinstance(anchor, Genesis) else "the first header"
        raise UntrustedAnchor(f"{what} has the hash {found.hex()}, trusted is {trusted.hex()}")
    if isinstance(anchor, Genesis):
        return Head(anchor.chain_id, 0, anchor.time_ms, found, None, anchor.authorities, None, None)
    header = anchor.header
    if header.next_authorities != hash_of(anchor.next_authorities):
        raise BadHandover(f"the authorities shown with block {header.height} are not those it names for the next block")
    return Head(
        header.chain_id, header.height, header.time_ms, found, header.state_root, anchor.next_authorities, header, None
    )


def _check_certificate(block: LightBlock, authorities: AuthoritySet) -> None:
    header, certificate = block.header, block.certificate
    if (certificate.kind, certificate.height, certificate.block) != (VoteKind.PRECOMMIT, header.height, block.hash):
        raise BadCertificate(f"the certificate shown with block {header.height} is not one of its finality")
    try:
        certificate.verify(header.chain_id, authorities)
    except InvalidProof as error:
        raise BadCertificate(f"block {header.height}: {error}") from error


def _handed_over(block: LightBlock, authorities: AuthoritySet) -> AuthoritySet:
    """Who vote on the block after this one."""
    height, following = block.header.height, block.next_authorities
    if not block.is_handover:
        if following is not None:
            raise BadHandover(f"block {height} hands over to nobody, yet authorities are shown")
        return authorities
    if following is None:
        raise BadHandover(f"block {height} hands over to authorities {block.header.next_authorities.hex()}, not shown")
    if hash_of(following) != block.header.next_authorities:
        raise BadHandover(f"the authorities shown with block {height} are not those it names for the next block")
    if following.set_id <= authorities.set_id:
        raise BadHandover(f"block {height} hands over from set {authorities.set_id} to set {following.set_id}")
    return following
