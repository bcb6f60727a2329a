"""Messages that no honest node sends are refused with an error, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pdfedchain.codec import decode, encode
from pdfedchain.consensus.effects import PeerFault, Relay
from pdfedchain.consensus.messages import (
    MESSAGE_SIZE_BYTES_MAX,
    CertificateMessage,
    ConsensusMessage,
    FinalBlockMessage,
    Message,
    ProposalMessage,
    VoteMessage,
    VotesMessage,
)
from pdfedchain.errors import DecodeError, InputError
from pdfedchain.ids import Hash
from pdfedchain.testing.simulator import make_keys
from pdfedchain.types.block import BlockBody, FinalBlock
from pdfedchain.types.vote import Certificate, Proposal, Vote
from tests.pdfedchain.consensus.world import (
    KEYS,
    PRECOMMIT,
    PREVOTE,
    A,
    Home,
    block_of,
    certificate,
    of_type,
    proposal,
    proposed,
    proposer_of,
    vote,
)

BLOCK = block_of(0)
GOOD_VOTE = vote(KEYS[1], PREVOTE, A)
GOOD_CERTIFICATE = certificate(PRECOMMIT, BLOCK.hash)
RE_PROPOSAL = proposed(BLOCK, round_=1, valid_round=0, polka=certificate(PREVOTE, BLOCK.hash))
STRANGER = next(key for key in make_keys(5) if key.address not in Home().genesis.authorities)


def cert(good: Certificate = GOOD_CERTIFICATE, **changed: object) -> Message:
    return CertificateMessage(replace(good, **changed))  # type: ignore[arg-type]


def offer(good: ProposalMessage, **changed: object) -> Message:
    return replace(good, **changed)  # type: ignore[arg-type]


def final(**changed: object) -> Message:
    return FinalBlockMessage(replace(FinalBlock(BLOCK, GOOD_CERTIFICATE), **changed))  # type: ignore[arg-type]


HOSTILE: dict[str, Callable[[], Message]] = {
    "vote of another chain": lambda: VoteMessage(vote(KEYS[1], PREVOTE, A, chain="other")),
    "vote of another set": lambda: VoteMessage(replace(GOOD_VOTE, set_id=1)),
    "vote of a stranger": lambda: VoteMessage(vote(STRANGER, PREVOTE, A)),
    "vote with a bad signature": lambda: VoteMessage(replace(GOOD_VOTE, signature=bytes(64))),
    "vote signed for another block": lambda: VoteMessage(replace(GOOD_VOTE, block=None)),
    "vote under another name": lambda: VoteMessage(replace(GOOD_VOTE, voter=KEYS[2].address)),
    "proposal of another chain": lambda: offer(
        proposed(BLOCK), proposal=replace(proposed(BLOCK).proposal, chain_id="other")
    ),
    "proposal with a bad signature": lambda: offer(
        proposed(BLOCK), proposal=replace(proposed(BLOCK).proposal, signature=bytes(64))
    ),
    "proposal out of turn": lambda: offer(proposed(BLOCK), proposal=proposal(BLOCK.hash, key=proposer_of(1))),
    "proposal of a stranger": lambda: offer(proposed(BLOCK), proposal=proposal(BLOCK.hash, key=STRANGER)),
    "proposal of another block": lambda: offer(proposed(BLOCK), block=block_of(1)),
    "proposal with another body": lambda: offer(
        proposed(BLOCK), block=replace(BLOCK, body=BlockBody((b"smuggled",), b""))
    ),
    "proposal with a later valid round": lambda: proposed(BLOCK, round_=1, valid_round=1),
    "fresh proposal with a polka": lambda: offer(proposed(BLOCK), polka=certificate(PREVOTE, BLOCK.hash)),
    "proposal with another polka": lambda: offer(RE_PROPOSAL, polka=certificate(PREVOTE, A)),
    "proposal with precommits for a polka": lambda: offer(RE_PROPOSAL, polka=certificate(PRECOMMIT, BLOCK.hash)),
    "proposal with a small polka": lambda: offer(RE_PROPOSAL, polka=certificate(PREVOTE, BLOCK.hash, keys=KEYS[:2])),
    "proposal with a forged polka": lambda: offer(
        RE_PROPOSAL, polka=replace(certificate(PREVOTE, A), block=BLOCK.hash)
    ),
    "certificate of another chain": lambda: cert(chain_id="other"),
    "certificate of another set": lambda: cert(set_id=1),
    "certificate without a quorum": lambda: cert(signatures=GOOD_CERTIFICATE.signatures[:2]),
    "certificate with one vote thrice": lambda: cert(signatures=GOOD_CERTIFICATE.signatures[:1] * 3),
    "certificate out of order": lambda: cert(signatures=GOOD_CERTIFICATE.signatures[::-1]),
    "certificate for another block": lambda: cert(block=Hash(bytes(32))),
    "certificate with a stranger": lambda: CertificateMessage(certificate(PRECOMMIT, A, keys=[*KEYS[:2], STRANGER])),
    "final block with prevotes": lambda: final(certificate=certificate(PREVOTE, BLOCK.hash)),
    "final block with nil": lambda: final(certificate=certificate(PRECOMMIT, None)),
    "final block with another's certificate": lambda: final(certificate=certificate(PRECOMMIT, A)),
    "final block with a certificate of another height": lambda: final(
        certificate=certificate(PRECOMMIT, BLOCK.hash, height=2)
    ),
    "final block without a quorum": lambda: final(certificate=certificate(PRECOMMIT, BLOCK.hash, keys=KEYS[:2])),
    "final block with another body": lambda: final(block=replace(BLOCK, body=BlockBody((b"smuggled",), b""))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_and_nothing_changes(name: str) -> None:
    home = Home()
    replica = home.replica()
    replica.start()
    before = replica.status()
    with pytest.raises(InputError):
        replica.on_message(HOSTILE[name](), "liar")
    assert replica.status() == before
    assert (home.log.entries(), home.store.height()) == ((), 0)


def test_one_bad_vote_in_a_bundle_undoes_nothing_and_ends_it() -> None:
    checked: list[object] = []

    def check(message: Vote | Proposal) -> None:
        checked.append(message)
        message.verify()

    replica = Home().replica(signature=check)
    replica.start()
    bad = replace(vote(KEYS[2], PREVOTE, A), signature=bytes(64))
    effects = replica.on_message(VotesMessage((GOOD_VOTE, bad, vote(KEYS[3], PREVOTE, A))), "liar")
    assert [fault.peer for fault in of_type(effects, PeerFault)] == ["liar"]
    assert [relay.message for relay in of_type(effects, Relay)] == [VoteMessage(GOOD_VOTE)]
    assert checked == [GOOD_VOTE, bad]


@pytest.mark.parametrize(
    "message",
    [
        proposed(BLOCK),
        RE_PROPOSAL,
        VoteMessage(GOOD_VOTE),
        VotesMessage((GOOD_VOTE,)),
        CertificateMessage(GOOD_CERTIFICATE),
        FinalBlockMessage(FinalBlock(BLOCK, GOOD_CERTIFICATE)),
        Home().replica().status(),
    ],
)
def test_every_message_travels_in_one_envelope(message: Message) -> None:
    frame = encode(ConsensusMessage(message))
    assert decode(ConsensusMessage, frame, size_bytes_max=MESSAGE_SIZE_BYTES_MAX).body == message
    with pytest.raises(DecodeError):
        decode(ConsensusMessage, frame + b"\x00", size_bytes_max=MESSAGE_SIZE_BYTES_MAX)
