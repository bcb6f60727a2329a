"""A node killed in mid-run: the others go on, and it comes back without contradicting itself."""

import json
import signal
from collections.abc import Callable

import pytest

from tests.e2e.network import Network

pytestmark = pytest.mark.e2e


def gauges(network: Network, index: int) -> dict[str, int]:
    """What a node counts about itself."""
    found: dict[str, int] = json.loads(network.homes[index].activity_path.read_text())["gauges"]
    return found


def test_a_killed_node_catches_up_signs_nothing_twice_and_the_others_went_on(network: Callable[..., Network]) -> None:
    net = network(steps=60)
    for index in range(4):
        net.start(index)
    net.wait("blocks are made", lambda: net.height(0) >= 5, timeout_s=90)
    net.wait("a checkpoint is submitted", lambda: len(net.checkpoints(0)) > 0, timeout_s=180)

    killed_at = net.height(1)
    net.stop(1, signal.SIGKILL)
    net.wait("the others go on", lambda: net.height(0) >= killed_at + 5, timeout_s=120)

    net.start(1)
    net.wait("the killed node catches up", lambda: net.height(1) >= killed_at + 5, timeout_s=60)
    resumed_at = net.height(1)
    net.wait("all go on together", lambda: min(net.height(i) for i in range(4)) >= resumed_at + 5, timeout_s=120)
    net.wait("something is settled", lambda: len(net.settled(1)) > 0, timeout_s=240)
    assert net.heads_agree()
    for index in range(4):
        assert gauges(net, index).get("evidence", 0) == 0, f"node {index} saw somebody sign twice"
        assert gauges(net, index).get("signing_refused", 0) == 0, f"node {index} was about to sign twice"
        assert net.stop(index, signal.SIGTERM) == 0
