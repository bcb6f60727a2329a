"""False scores: one authority of four does not move what is settled, two cannot get theirs settled."""

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from pdfedchain.codec import decode
from pdfedchain.ids import Cid
from pdfedchain.limits import STATE_VALUE_SIZE_BYTES_MAX
from pdfedchain.state import ballot_prefix
from pdfedchain.types.ballot import Ballot, BallotKind
from pdfedchain.types.checkpoint import Checkpoint, CheckpointStatus, RejectionReason
from pdfedchain.types.score import ScoreReport
from tests.e2e.network import Network, pdfed_json

pytestmark = pytest.mark.e2e

ONE_TRAINER = ("authority,trainer", "authority", "authority", "authority")


def revealed(network: Network, index: int, checkpoint: Cid) -> dict[bytes, ScoreReport]:
    """Revealed scores of a checkpoint by authority."""
    prefix = ballot_prefix(checkpoint, BallotKind.SCORE)
    values = network.read(index, lambda store: [value for _, value in store.state_items(prefix)])
    ballots = [decode(Ballot, value, size_bytes_max=STATE_VALUE_SIZE_BYTES_MAX) for value in values]
    return {ballot.voter: ballot.report for ballot in ballots if isinstance(ballot.report, ScoreReport)}


def scored_by_all(network: Network) -> Checkpoint | None:
    """A settled checkpoint on which all four authorities have opened a score."""
    return next((one for one in network.settled(0) if len(revealed(network, 0, one.weights)) == 4), None)


def test_one_liar_of_four_does_not_move_what_is_settled(network: Callable[..., Network]) -> None:
    net = network(roles=ONE_TRAINER)
    for index in range(3):
        net.start(index)
    net.start(3, "liar")
    # Three honest reports are enough to settle, so a lie that comes later than they is not on every checkpoint.
    net.wait("a checkpoint that all have scored is settled", lambda: scored_by_all(net) is not None, timeout_s=300)
    settled = scored_by_all(net)
    assert settled is not None
    assert settled.report is not None
    addresses = [home.account_key().address for home in net.homes]
    reports = revealed(net, 0, settled.weights)
    assert [reports[address] for address in addresses[:3]] == [settled.report] * 3
    lie = reports[addresses[3]]
    assert lie == replace(
        settled.report, fid_micro=settled.report.fid_micro // 2, checked=0, confirmed=0, v_a_micro=0, v_c_micro=0
    )
    for index in range(4):
        net.stop(index, signal.SIGTERM)
    audit = pdfed_json("audit", "--home", net.homes[1].path, "--scores", "all")
    assert audit["ok"] is True
    assert audit["scores_checked"] >= 1
    assert audit["scores_out_of_tolerance"] == 0


def test_two_liars_of_four_get_no_false_score_settled(network: Callable[..., Network]) -> None:
    net = network(roles=ONE_TRAINER)
    for index in range(2):
        net.start(index)
    for index in (2, 3):
        net.start(index, "liar")
    seen: list[Checkpoint] = []  # its author may offer it once more, which begins its life again

    def one_is_settled() -> bool:
        seen.extend(net.settled(0))
        return bool(seen)

    net.wait("a checkpoint is settled", one_is_settled, timeout_s=300)
    settled = seen[0]
    assert settled.status is CheckpointStatus.REJECTED
    assert settled.reason is RejectionReason.DISAGREEMENT
    assert settled.report is None
    height = net.height(0)
    net.wait("blocks go on", lambda: net.height(0) > height + 1, timeout_s=60)
    assert net.heads_agree()
