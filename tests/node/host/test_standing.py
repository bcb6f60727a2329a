"""Bans end, and an address is banned with many of its peers."""

from __future__ import annotations

import pytest

from node.host.standing import PEERS_PER_NETWORK_MAX, Standing, network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("nonsense", "nonsense"),
        ("", ""),
    ],
)
def test_an_address_stands_for_its_owner(address: str, network: str) -> None:
    assert network_of(address) == network


def test_bans_of_peers_and_of_their_address_end() -> None:
    now = [0.0]
    standing = Standing(lambda: now[0])
    for number in range(PEERS_PER_NETWORK_MAX):
        assert not standing.bans_network("192.0.2.1")
        standing.ban(f"peer {number}", "192.0.2.1", 10.0 + number)
    assert standing.bans_peer("peer 0")
    assert standing.bans_network("192.0.2.1")
    assert not standing.bans_network("192.0.2.2")
    now[0] = 10.0
    assert not standing.bans_peer("peer 0")
    assert standing.bans_peer("peer 1")
    assert not standing.bans_network("192.0.2.1")


def test_one_peer_that_is_banned_again_and_again_does_not_ban_its_neighbours() -> None:
    standing = Standing(lambda: 0.0)
    for _ in range(100):
        standing.ban("peer", "192.0.2.1", 10.0)
    assert not standing.bans_network("192.0.2.1")


def test_peers_of_unknown_origin_ban_no_address() -> None:
    standing = Standing(lambda: 0.0)
    for number in range(20_000):
        standing.ban(str(number), "", 10.0)
    assert not standing.bans_network("")
    assert len(standing._bans) == 10_000


def test_bans_that_make_room_count_for_their_address_no_more() -> None:
    standing = Standing(lambda: 0.0)
    for number in range(PEERS_PER_NETWORK_MAX):
        standing.ban(f"first {number}", "192.0.2.1", 10.0)
    for number in range(10_000):
        assert standing.bans_network("192.0.2.1") is (number <= 10_000 - PEERS_PER_NETWORK_MAX)
        standing.ban(str(number), "192.0.2.2", 10.0)
    assert not standing.bans_network("192.0.2.1")
    assert standing.bans_network("192.0.2.2")
