"""Random courses of proposals, approvals and evidence, beside a model that keeps sets and approvals by itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.codec import decode
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InvalidBlock
from pdfedchain.ids import Address, Hash
from pdfedchain.state.governance_events import ChangeEnacted, ChangeExpired, ChangeRefused, EvidenceAccepted
from pdfedchain.state.membership import set_at
from pdfedchain.types.governance import AddAuthority, RemoveAuthority
from pdfedchain.types.parameters import Deadline
from pdfedchain.types.transaction import (
    ApproveChange,
    ProposeChange,
    SignedTransaction,
    SubmitEvidence,
    transaction_hash,
)
from pdfedchain.types.vote import Vote, VoteKind
from tests.pdfedchain.ledger_world import CHAIN_ID, PARAMETERS, World, key_of

PEOPLE = [key_of(name) for name in ("authority0", "authority1", "authority2", "authority3", "newcomer", "another")]
people = st.sampled_from(PEOPLE)


@dataclass
class Model:
    """Members by height, and approvals by proposal: sets of addresses, counted anew for every question.

    Attributes:
        sets: members of the set that votes at each height, as far as decided.
    """

    sets: dict[int, tuple[Address, ...]]
    open: dict[Hash, tuple[AddAuthority | RemoveAuthority, set[Address]]] = field(default_factory=dict)

    def counts(self, proposal: Hash, height: int) -> bool:
        """Whether a quorum of those who vote, and will still vote two heights later, has approved."""
        now, later = self.sets[height], self.sets[height + 2]
        valid = self.open[proposal][1] & set(now) & set(later)
        return len(valid) * 3 > len(now) * 2

    def enact(self, proposal: Hash, height: int) -> bool:
        """Apply a change to the set two heights later; whether that was possible."""
        change, _ = self.open.pop(proposal)
        members = self.sets[height + 2]
        if isinstance(change, AddAuthority):
            if change.address in members:
                return False
            self.sets[height + 2] = (*members, change.address)
            return True
        return self.remove(change.address, height)

    def remove(self, address: Address, height: int) -> bool:
        members = self.sets[height + 2]
        if address not in members or len(members) == 1:
            return False
        self.sets[height + 2] = tuple(member for member in members if member != address)
        return True


def vote(key: SigningKey, world: World, height: int, block: Hash | None) -> Vote:
    authorities = set_at(world.view, height) or world.genesis.authorities
    unsigned = Vote(CHAIN_ID, authorities.set_id, height, 0, VoteKind.PREVOTE, block, key.address, bytes(64))
    return replace(unsigned, signature=key.sign(unsigned.signing_bytes()))


def something(data: st.DataObject, world: World, model: Model) -> bytes | None:
    """A transaction somebody might send, possible or not."""
    key, target = data.draw(people), data.draw(people)
    match data.draw(st.integers(0, 7)):
        case 0 | 1:
            change = RemoveAuthority(target.address)
            if target.address not in model.sets[world.height + 3]:
                return world.sign(key, ProposeChange(AddAuthority(target.address, None)))
            return world.sign(key, ProposeChange(change))
        case 2 | 3 | 4 | 5 if model.open:
            return world.sign(key, ApproveChange(data.draw(st.sampled_from(list(model.open)))))
        case 6:
            height = data.draw(st.integers(1, world.height + 2))
            evidence = SubmitEvidence(vote(key, world, height, None), vote(key, world, height, Hash(bytes(32))))
            return world.sign(target, evidence)
        case _:
            return None


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_sets_follow_the_model(data: st.DataObject) -> None:
    world = World(4, parameters=replace(PARAMETERS, proposal=Deadline(8, 1)))
    members = world.voting.members
    model = Model({1: members, 2: members})
    convicted: dict[Address, int] = {}
    for _ in range(25):
        height = world.height + 1
        model.sets[height + 2] = model.sets[height + 1]
        transaction = something(data, world, model)
        following_id = world.view.governance.following.set_id
        try:
            world.block(*([transaction] if transaction is not None else []))
        except InvalidBlock:
            transaction = None
            world.block()
        changes = _replay(world, model, transaction, height, convicted)
        assert world.voting.members == model.sets[height + 1]
        governance = world.view.governance
        assert governance.following.members == model.sets[height + 2]
        assert governance.following.set_id == following_id + changes
        assert [one.proposal for one in governance.proposals] == list(model.open)
        for past in range(1, height + 2):
            remembered = set_at(world.view, past)
            assert remembered is not None
            assert remembered.members == model.sets[past]


def _replay(world: World, model: Model, transaction: bytes | None, height: int, convicted: dict[Address, int]) -> int:
    """Tell the model what happened, and compare outcomes; how many changes of membership there were."""
    changes = 0
    for event in world.events:
        if isinstance(event, ChangeExpired):
            del model.open[event.proposal]
    if model.sets[height] != model.sets.get(height - 1, model.sets[height]):
        for proposal in list(model.open):
            if model.counts(proposal, height):
                changes += model.enact(proposal, height)
    if transaction is not None:
        changes += _transact(world, model, transaction, height, convicted)
    closed = [event for event in world.events if isinstance(event, ChangeEnacted | ChangeRefused)]
    assert all(event.proposal not in model.open for event in closed)
    return changes


def _transact(world: World, model: Model, data: bytes, height: int, convicted: dict[Address, int]) -> int:
    transaction = decode(SignedTransaction, data, size_bytes_max=10_000).transaction
    payload, sender = transaction.payload, transaction.sender
    if isinstance(payload, SubmitEvidence):
        assert isinstance(payload.first, Vote)
        culprit, offence = payload.first.voter, payload.first.height
        assert culprit in model.sets[offence]
        assert offence > convicted.get(culprit, -2) + 1
        convicted[culprit] = height
        evicted = model.remove(culprit, height)
        assert EvidenceAccepted(culprit, offence, evicted, sender) in world.events
        return int(evicted)
    assert sender in model.sets[height]
    if isinstance(payload, ProposeChange):
        proposal, change = transaction_hash(data), payload.change
        assert isinstance(change, AddAuthority | RemoveAuthority)
        model.open[proposal] = (change, {sender})
    else:
        assert isinstance(payload, ApproveChange)
        proposal = payload.proposal
        model.open[proposal][1].add(sender)
    return int(model.enact(proposal, height)) if model.counts(proposal, height) else 0
