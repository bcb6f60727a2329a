"""Early messages: what is kept, how much of it, and of whom."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from pdfedchain.codec import decode, encode
from pdfedchain.consensus.inbox import (
    PEERS_MAX,
    PROPOSALS_PER_PEER_MAX,
    PROPOSALS_SIZE_BYTES_MAX,
    SIZE_BYTES_MAX,
    VOTES_PER_PEER_MAX,
    VOTES_SIZE_BYTES_MAX,
    Inbox,
    size_in_memory,
)
from pdfedchain.consensus.messages import (
    MESSAGE_SIZE_BYTES_MAX,
    CertificateMessage,
    ConsensusMessage,
    ProposalMessage,
    VoteMessage,
    VotesMessage,
)
from pdfedchain.limits import AUTHORITIES_MAX, BLOCK_SIZE_BYTES_MAX, TRANSACTIONS_PER_BLOCK_MAX
from pdfedchain.types.block import BlockBody
from pdfedchain.types.vote import CertificateSignature
from tests.pdfedchain.consensus.world import KEYS, PREVOTE, A, block_of, certificate, proposed, vote

VOTE = VoteMessage(vote(KEYS[1], PREVOTE, A, height=2))
SIGNATURES = tuple(CertificateSignature(bytes([n]) * 32, bytes([n]) * 64) for n in range(AUTHORITIES_MAX))  # type: ignore[arg-type]
LARGE_CERTIFICATE = CertificateMessage(replace(certificate(PREVOTE, A, height=2), signatures=SIGNATURES))


def proposal_of(number: int, transactions: tuple[bytes, ...] = ()) -> ProposalMessage:
    block = block_of(0)
    return proposed(replace(block, body=BlockBody((b"%d" % number, *transactions), b"")))


def largest(number: int) -> ProposalMessage:
    return proposal_of(number, (bytes(1_048_000),) * (BLOCK_SIZE_BYTES_MAX // 1_048_576))


def test_proposals_come_out_first_each_with_its_neighbour_and_once() -> None:
    inbox, proposal = Inbox(), proposal_of(0)
    for peer in ("a", "b"):
        inbox.put(peer, VOTE)
        inbox.put(peer, proposal)
        inbox.put(peer, proposal)
    assert inbox.drain() == [("a", proposal), ("b", proposal), ("a", VOTE), ("b", VOTE)]
    assert (inbox.drain(), inbox.size_bytes) == ([], 0)


def test_bundles_are_not_kept() -> None:
    inbox = Inbox()
    inbox.put("a", VotesMessage((VOTE.vote,)))
    assert inbox.drain() == []


def test_the_oldest_votes_make_room() -> None:
    inbox = Inbox()
    votes = [VoteMessage(replace(VOTE.vote, round=round_)) for round_ in range(VOTES_PER_PEER_MAX + 3)]
    for message in votes:
        inbox.put("a", message)
    assert inbox.drain() == [("a", message) for message in votes[3:]]


def test_certificates_of_the_largest_set_are_bounded_in_bytes() -> None:
    inbox = Inbox()
    for _ in range(VOTES_PER_PEER_MAX):
        inbox.put("a", LARGE_CERTIFICATE)
    assert 5 * size_in_memory(LARGE_CERTIFICATE) < inbox.size_bytes <= VOTES_SIZE_BYTES_MAX


def test_a_round_of_the_largest_set_and_its_largest_block_have_room() -> None:
    inbox = Inbox()
    block = proposal_of(0, (bytes(400),) * (TRANSACTIONS_PER_BLOCK_MAX - 1))
    assert len(encode(ConsensusMessage(block))) > 0.95 * BLOCK_SIZE_BYTES_MAX
    inbox.put("a", block)
    for _ in range(2 * AUTHORITIES_MAX):
        inbox.put("a", VOTE)
    inbox.put("a", LARGE_CERTIFICATE)
    assert len(inbox.drain()) == 1 + 2 * AUTHORITIES_MAX + 1


def test_further_and_too_large_proposals_are_dropped() -> None:
    inbox = Inbox()
    for number in range(5):
        inbox.put("a", proposal_of(number))
    assert inbox.drain() == [("a", proposal_of(number)) for number in range(PROPOSALS_PER_PEER_MAX)]
    small = proposal_of(0)
    inbox.put("a", small)
    inbox.put("a", proposal_of(1, (bytes(PROPOSALS_SIZE_BYTES_MAX),)))
    assert inbox.drain() == [("a", small)]


def test_in_all_the_neighbours_that_fill_most_lose_theirs() -> None:
    inbox = Inbox()
    inbox.put("honest", VOTE)
    inbox.put("honest", proposal_of(0))
    for peer in range(PEERS_MAX - 1):
        for number in range(PROPOSALS_PER_PEER_MAX):
            inbox.put(str(peer), largest(number))
            assert inbox.size_bytes <= SIZE_BYTES_MAX
    kept = inbox.drain()
    assert ("honest", VOTE) in kept
    assert ("honest", proposal_of(0)) in kept


def test_neighbours_beyond_the_bound_are_not_remembered() -> None:
    inbox = Inbox()
    for peer in range(PEERS_MAX + 5):
        inbox.put(str(peer), VOTE)
    assert len(inbox.drain()) == PEERS_MAX


@pytest.mark.parametrize(
    "message", [VOTE, LARGE_CERTIFICATE, proposal_of(0), proposal_of(0, (bytes(30),) * 9_999), largest(0)]
)
def test_a_message_takes_no_more_memory_than_is_counted(
    message: VoteMessage | CertificateMessage | ProposalMessage,
) -> None:
    frame = encode(ConsensusMessage(message))
    decode(ConsensusMessage, frame, size_bytes_max=MESSAGE_SIZE_BYTES_MAX)
    tracemalloc.start()
    try:
        held = decode(ConsensusMessage, frame, size_bytes_max=MESSAGE_SIZE_BYTES_MAX).body
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held == message
    assert taken <= size_in_memory(message) <= 3 * taken
