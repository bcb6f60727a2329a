"""Ledger events come back typed from what stores keep."""

from __future__ import annotations

import pytest

from pdfedchain.errors import DecodeError
from pdfedchain.state import events
from pdfedchain.state.events import event_of, ledger_event
from pdfedchain.types.event import Event
from tests.pdfedchain.ledger_world import GOOD, World, cid_of


def test_events_of_a_whole_life_come_back_typed_and_name_their_checkpoint() -> None:
    world = World()
    world.submit("one")
    seen = list(world.events)
    world.start_scoring("one")
    seen += world.events
    world.commit("one", dict.fromkeys(range(4), GOOD))
    seen += world.events
    world.reveal("one", dict.fromkeys(range(4), GOOD))
    seen += world.events
    world.settle_all()
    seen += world.events
    assert len({event.kind for event in seen}) == 7
    for event in seen:
        stored = event_of(event)
        assert ledger_event(stored) == event
        assert cid_of("one") in stored.subjects


def test_every_kind_of_event_is_decodable_and_documented() -> None:
    kinds = {cls.kind for cls in events._BY_KIND.values()}
    assert len(kinds) == len(events._BY_KIND)
    assert events.__doc__ is not None
    for kind in kinds:
        assert f"\n{kind} " in events.__doc__


@pytest.mark.parametrize("event", [Event("unknown", (), b""), Event("transferred", (), b"\x90")])
def test_foreign_events_are_refused(event: Event) -> None:
    with pytest.raises(DecodeError):
        ledger_event(event)
