"""An announcement goes on if it may be true and is news."""

from __future__ import annotations

from node.announcements import AHEAD_MAX, Announcements


def test_each_height_above_ours_is_passed_on_once() -> None:
    announcements = Announcements()
    heights = (9, 10, 11, 11, 13, 12, 13, 11)
    passed = [height for height in heights if announcements.is_news(height, ours=10)]
    assert passed == [11, 13, 12]


def test_a_height_far_above_ours_is_not_passed_on() -> None:
    announcements = Announcements()
    assert announcements.is_news(10 + AHEAD_MAX, ours=10)
    assert not announcements.is_news(11 + AHEAD_MAX, ours=10)
    assert announcements.is_news(11 + AHEAD_MAX, ours=11)


def test_what_is_remembered_and_what_one_peer_can_spread_is_bounded() -> None:
    announcements = Announcements()
    passed = sum(
        announcements.is_news(height, ours=ours) for ours in range(100) for height in range(2 * AHEAD_MAX + ours)
    )
    assert passed == AHEAD_MAX + 99
    assert len(announcements._passed) <= AHEAD_MAX
