"""Evidence: what counts as a contradiction, for how long, and what it leads to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InvalidBlock
from pdfedchain.ids import Hash
from pdfedchain.state.governance_events import ChangeEnacted, EvidenceAccepted
from pdfedchain.types.governance import AddAuthority, Conviction, RemoveAuthority
from pdfedchain.types.transaction import ApproveChange, ProposeChange, SubmitEvidence, transaction_hash
from pdfedchain.types.vote import NO_ROUND, Proposal, Vote, VoteKind
from tests.pdfedchain.ledger_world import CHAIN_ID, PARAMETERS, World, key_of

ONE, OTHER = Hash(b"1" * 32), Hash(b"2" * 32)
STRANGER = key_of("stranger")


def vote(key: SigningKey, block: Hash | None, *, height: int = 1, set_id: int = 0, **changes: object) -> Vote:
    unsigned = Vote(CHAIN_ID, set_id, height, 0, VoteKind.PREVOTE, block, key.address, bytes(64))
    unsigned = replace(unsigned, **changes)  # type: ignore[arg-type]
    return replace(unsigned, signature=key.sign(unsigned.signing_bytes()))


def proposal(key: SigningKey, block: Hash, valid_round: int = NO_ROUND) -> Proposal:
    unsigned = Proposal(CHAIN_ID, 0, 1, 2, valid_round, block, key.address, bytes(64))
    return replace(unsigned, signature=key.sign(unsigned.signing_bytes()))


def equivocation(key: SigningKey, **changes: int) -> SubmitEvidence:
    return SubmitEvidence(vote(key, ONE, **changes), vote(key, None, **changes))


def submit(world: World, evidence: SubmitEvidence, sender: SigningKey = STRANGER) -> None:
    world.block((sender, evidence))


def refusal(world: World, evidence: SubmitEvidence) -> str:
    with pytest.raises(InvalidBlock) as caught:
        submit(world, evidence)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["votes", "precommits", "proposals", "valid rounds"])
def test_a_contradiction_evicts_two_blocks_later(kind: str) -> None:
    world = World()
    culprit = world.authorities[1]
    evidence = {
        "votes": equivocation(culprit),
        "precommits": SubmitEvidence(
            vote(culprit, ONE, kind=VoteKind.PRECOMMIT), vote(culprit, OTHER, kind=VoteKind.PRECOMMIT)
        ),
        "proposals": SubmitEvidence(proposal(culprit, ONE), proposal(culprit, OTHER)),
        "valid rounds": SubmitEvidence(proposal(culprit, ONE), proposal(culprit, ONE, 1)),
    }[kind]
    submit(world, evidence)
    assert world.events == [EvidenceAccepted(culprit.address, 1, True, STRANGER.address)]
    assert culprit.address in world.voting
    world.block()
    assert culprit.address not in world.voting
    assert (world.voting.set_id, len(world.voting)) == (1, 3)
    assert world.view.conviction(culprit.address) == Conviction(culprit.address, 1, 1, True)


def test_what_contradicts_nothing_is_refused() -> None:
    world = World()
    world.block()
    key, other = world.authorities[:2]
    honest = vote(key, ONE)
    for second, wanted in (
        (honest, "say the same"),
        (vote(other, OTHER), "not of one signer"),
        (vote(key, OTHER, kind=VoteKind.PRECOMMIT), "not of one signer"),
        (vote(key, OTHER, round=1), "not of one signer"),
        (vote(key, OTHER, height=2), "not of one signer"),
        (vote(key, OTHER, set_id=1), "not of one signer"),
        (proposal(key, OTHER), "a vote and a proposal"),
        (replace(vote(key, OTHER), signature=bytes(64)), "does not verify"),
    ):
        assert wanted in refusal(world, SubmitEvidence(honest, second))
    assert "about chain" in refusal(
        world, SubmitEvidence(vote(key, ONE, chain_id="other"), vote(key, OTHER, chain_id="other"))
    )
    assert "is not between" in refusal(world, equivocation(key, height=world.height + 2))
    assert "did not vote" in refusal(world, equivocation(STRANGER))
    assert "did not vote" in refusal(world, equivocation(key, set_id=1))
    assert world.view.governance.following == world.genesis.authorities


def test_evidence_grows_too_old() -> None:
    world = World(parameters=replace(PARAMETERS, evidence_blocks_max=3))
    for _ in range(4):
        world.block()
    assert "more than 3 blocks ago" in refusal(world, equivocation(world.authorities[0], height=1))
    submit(world, equivocation(world.authorities[0], height=2))


def test_one_offence_counts_once_and_a_conviction_covers_what_came_before() -> None:
    world = World()
    culprit = world.authorities[1]
    submit(world, equivocation(culprit))
    again = SubmitEvidence(vote(culprit, ONE), vote(culprit, OTHER))
    assert "convicted" in refusal(world, again)
    world.block()
    assert "convicted" in refusal(world, equivocation(culprit, height=2))


def test_who_is_admitted_again_begins_afresh() -> None:
    world = World()
    culprit = world.authorities[3]
    submit(world, equivocation(culprit))
    data = world.sign(world.authorities[0], ProposeChange(AddAuthority(culprit.address, None)))
    world.block(data)
    world.block(*((world.authorities[i], ApproveChange(transaction_hash(data))) for i in (1, 2)))
    world.block()
    assert culprit.address in world.voting
    assert "convicted" in refusal(world, equivocation(culprit))
    world.block()
    submit(world, equivocation(culprit, height=world.height, set_id=2))
    world.block()
    assert culprit.address not in world.voting


def test_the_last_authority_stays_and_its_conviction_is_told() -> None:
    world = World(1)
    (last,) = world.authorities
    submit(world, equivocation(last))
    assert world.events == [EvidenceAccepted(last.address, 1, False, STRANGER.address)]
    world.block()
    assert world.voting == world.genesis.authorities
    submit(world, equivocation(last, height=3))
    assert world.view.conviction(last.address) == Conviction(last.address, 3, 3, False)


def test_everybody_contradicting_himself_leaves_one() -> None:
    world = World()
    world.block(*((STRANGER, equivocation(key)) for key in world.authorities))
    world.block()
    assert world.voting.members == (world.authorities[3].address,)
    assert world.voting.set_id == 3


def test_evidence_names_the_set_of_its_height_and_not_the_present_one() -> None:
    world = World()
    culprit, leaver = world.authorities[1], world.authorities[3]
    data = world.sign(world.authorities[0], ProposeChange(RemoveAuthority(leaver.address)))
    world.block(data)
    world.block(*((key, ApproveChange(transaction_hash(data))) for key in world.authorities[1:3]))
    assert world.events[-1] == ChangeEnacted(transaction_hash(data), 4)
    world.block()
    world.block()
    assert world.voting.set_id == 1
    for height, set_id in ((1, 1), (3, 1), (4, 0)):
        assert "did not vote" in refusal(world, equivocation(culprit, height=height, set_id=set_id))
    submit(world, equivocation(leaver, height=3, set_id=0))
    assert world.events == [EvidenceAccepted(leaver.address, 3, False, STRANGER.address)]
    submit(world, equivocation(culprit, height=4, set_id=1))
    world.block()
    assert world.voting.members == (world.authorities[0].address, world.authorities[2].address)


def test_sets_are_forgotten_when_no_evidence_can_be_about_them() -> None:
    world = World(1, parameters=replace(PARAMETERS, evidence_blocks_max=4))
    (alone,) = world.authorities
    world.block((alone, ProposeChange(AddAuthority(key_of("authority1").address, None))))
    world.block()
    for _ in range(4):
        world.block()
    assert world.view.authority_set(0) is not None, "pruned with the next change only"
    data = world.sign(alone, ProposeChange(RemoveAuthority(key_of("authority1").address)))
    world.block(data)
    world.block((key_of("authority1"), ApproveChange(transaction_hash(data))))
    world.block()
    assert world.view.authority_set(0) is None
    assert [term.set_id for term in world.view.governance.terms] == [1, 2]
