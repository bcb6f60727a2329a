"""What must hold in every run, checked by arithmetic of its own.

The observer sees every message that leaves a node and every block a node takes for final. It shares no code with
consensus beyond the types: thresholds are counted here again, from addresses, and signatures checked once more.

* agreement: no two honest nodes take different blocks for final at one height;
* each final block extends the one before, and has signatures of more than two thirds;
* no honest node signs two different things for one height, round and step, whatever crashed in between;
* a lock is respected: an honest node that precommitted a block prevotes another one only if a quorum prevoted that
  one in the same or a later round, before the present one;
* nothing leaves an honest node whose signatures do not verify, and no honest node accuses another;
* a transaction is counted once, and in the end all stores hold the same blocks and the same state, byte by byte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pdfedchain.codec import encode
from pdfedchain.consensus.effects import BlockRefused, Effect, Evidence
from pdfedchain.consensus.messages import (
    CertificateMessage,
    FinalBlockMessage,
    Message,
    ProposalMessage,
    VoteMessage,
    VotesMessage,
)
from pdfedchain.crypto import hash_of
from pdfedchain.ids import Address, Hash
from pdfedchain.store.memory import MemoryStore
from pdfedchain.testing.counter import CounterApplication
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.vote import Proposal, Vote, VoteKind

__all__ = ["InvariantBroken", "Observer"]

_PREVOTE, _PRECOMMIT = 1, 2


class InvariantBroken(AssertionError):
    """A property that consensus promises does not hold: a bug of ours."""


class Observer:
    """Checks every event as it happens.

    Args:
        authorities: of the first block.
        honest: nodes that follow the protocol, authorities or not.
        genesis: parent of the first block.
    """

    def __init__(self, authorities: AuthoritySet, honest: frozenset[Address], genesis: Hash) -> None:
        self._sets: dict[int, AuthoritySet] = {1: authorities}
        self._honest = honest
        self._final: dict[int, Hash] = {0: genesis}
        self._roots: dict[int, Hash] = {}
        self._signed: dict[tuple[Address, int, int, int], tuple[Hash | None, int]] = {}
        self._prevoters: dict[tuple[int, int, Hash | None], set[Address]] = defaultdict(set)
        self._locks: dict[tuple[Address, int], tuple[int, Hash]] = {}
        self._keys: dict[Address, Ed25519PublicKey] = {}
        self._genuine: dict[Vote | Proposal, bool] = {}

    @property
    def height(self) -> int:
        """The highest final height of anybody honest."""
        return max(self._final)

    def sent(self, message: Message, *, by_honest: bool = True) -> None:
        """A message has left a node."""
        match message:
            case VoteMessage(vote):
                votes: tuple[Vote, ...] = (vote,)
            case VotesMessage(votes):
                pass
            case CertificateMessage(certificate):
                votes = certificate.votes()
            case FinalBlockMessage(final):
                votes = final.certificate.votes()
            case ProposalMessage(proposal, _, polka):
                if self._is_genuine(proposal, proposal.proposer, by_honest=by_honest):
                    self._proposal(proposal)
                votes = () if polka is None else polka.votes()
            case _:
                return
        for vote in votes:
            if self._is_genuine(vote, vote.voter, by_honest=by_honest):
                self._vote(vote)

    def accused(self, effect: Effect) -> None:
        """An honest node blames somebody."""
        match effect:
            case Evidence(culprit) if culprit in self._honest:
                raise InvariantBroken(f"evidence against {culprit.hex()}, who is honest")
            case BlockRefused(height, _, proposer, reason) if proposer in self._honest:
                raise InvariantBroken(f"a block of an honest proposer was refused at height {height}: {reason}")
            case _:
                pass

    def final(self, final: FinalBlock, state_root: Hash, next_authorities: AuthoritySet | None = None) -> None:
        """An honest node takes a block for final.

        Args:
            state_root: of its state after the block.
            next_authorities: whom it expects to vote on the next one; ``None`` for the same as on this one.
        """
        block, header = final.block.hash, final.block.header
        known = self._final.setdefault(header.height, block)
        if known != block:
            raise InvariantBroken(f"two final blocks at height {header.height}: {known.hex()} and {block.hex()}")
        if self._final.get(header.height - 1) != header.parent:
            raise InvariantBroken(f"block {header.height} does not extend block {header.height - 1}")
        if self._roots.setdefault(header.height, state_root) != state_root or header.state_root != state_root:
            raise InvariantBroken(f"state roots differ at height {header.height}")
        authorities = self._set_at(header.height)
        signers = {entry.voter for entry in final.certificate.signatures} & set(authorities.members)
        if len(signers) * 3 <= len(authorities.members) * 2 or final.certificate.set_id != authorities.set_id:
            count = f"{len(signers)} of {len(authorities.members)} signatures of set {authorities.set_id}"
            raise InvariantBroken(f"block {header.height} is final with {count}")
        coming = authorities if next_authorities is None else next_authorities
        if self._sets.setdefault(header.height + 1, coming) != coming:
            raise InvariantBroken(f"two authority sets for height {header.height + 1}")
        if (header.authorities, header.next_authorities) != (hash_of(authorities), hash_of(coming)):
            raise InvariantBroken(f"header {header.height} names other authority sets than its state")

    def ended(self, stores: Iterable[MemoryStore]) -> None:
        """The run is over, and these are the honest nodes' stores; some may be a few blocks behind."""
        blocks: dict[int, bytes] = {}
        states: dict[int, dict[bytes, bytes]] = {}
        for store in stores:
            height = store.height()
            for at in range(1, height + 1):
                block = encode(store.final_block(at).block)
                if blocks.setdefault(at, block) != block:
                    raise InvariantBroken(f"two stores hold different bytes for block {at}")
            state = dict(store.state_items(b""))
            if states.setdefault(height, state) != state:
                raise InvariantBroken(f"two stores hold different states of height {height}")
            genesis = store.genesis()
            if genesis is None or genesis.application != CounterApplication.name:
                continue
            counted = [one for at in range(1, height + 1) for one in store.final_block(at).block.body.transactions]
            if not CounterApplication.count(store.state()) == len(counted) == len(set(counted)):
                raise InvariantBroken(f"the state of height {height} does not count its {len(counted)} transactions")

    def _is_genuine(self, message: Vote | Proposal, signer: Address, *, by_honest: bool) -> bool:
        known = self._genuine.get(message)
        if known is None:
            known = self._genuine[message] = self._verifies(message, signer)
        if by_honest and not known:
            raise InvariantBroken(f"an honest node sent what {signer.hex()} never signed")
        return known

    def _verifies(self, message: Vote | Proposal, signer: Address) -> bool:
        try:
            if signer not in self._keys:
                self._keys[signer] = Ed25519PublicKey.from_public_bytes(signer)
            self._keys[signer].verify(message.signature, message.signing_bytes())
        except (InvalidSignature, ValueError):
            return False
        return any(signer in authorities.members for authorities in self._sets.values())

    def _set_at(self, height: int) -> AuthoritySet:
        """Who votes at a height, as far as anybody honest has told."""
        return self._sets[height] if height in self._sets else self._sets[max(self._sets)]

    def _proposal(self, proposal: Proposal) -> None:
        slot = (proposal.proposer, proposal.height, proposal.round, 0)
        self._once(slot, proposal.block, proposal.valid_round)

    def _vote(self, vote: Vote) -> None:
        kind = _PREVOTE if vote.kind is VoteKind.PREVOTE else _PRECOMMIT
        slot = (vote.voter, vote.height, vote.round, kind)
        if kind == _PREVOTE:
            self._prevoters[vote.height, vote.round, vote.block].add(vote.voter)
        first = slot not in self._signed
        self._once(slot, vote.block, 0)
        if first and vote.voter in self._honest and vote.block is not None:
            if kind == _PREVOTE:
                self._respects_lock(vote, vote.block)
            else:
                self._lock(vote, vote.block)

    def _once(self, slot: tuple[Address, int, int, int], block: Hash | None, detail: int) -> None:
        first = self._signed.setdefault(slot, (block, detail))
        if slot[0] in self._honest and first != (block, detail):
            raise InvariantBroken(f"an honest node signed twice at height {slot[1]}, round {slot[2]}, step {slot[3]}")

    def _lock(self, vote: Vote, block: Hash) -> None:
        key = (vote.voter, vote.height)
        if key not in self._locks or self._locks[key][0] < vote.round:
            self._locks[key] = (vote.round, block)

    def _respects_lock(self, vote: Vote, block: Hash) -> None:
        lock = self._locks.get((vote.voter, vote.height))
        if lock is None or lock[0] >= vote.round or lock[1] == block:
            return
        for round_ in range(lock[0], vote.round):
            if len(self._prevoters[vote.height, round_, block]) * 3 > len(self._set_at(vote.height).members) * 2:
                return
        raise InvariantBroken(f"a lock of round {lock[0]} was ignored in round {vote.round} of height {vote.height}")
