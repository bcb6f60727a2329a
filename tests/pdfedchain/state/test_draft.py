"""A draft is the tree with its writes put one after the other, and an attempt that fails never was."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.codec import encode
from pdfedchain.crypto import StateTree
from pdfedchain.errors import DecodeError
from pdfedchain.ids import Address, Hash
from pdfedchain.limits import UINT_MAX
from pdfedchain.state.draft import Draft
from pdfedchain.state.events import Transferred, event_of
from pdfedchain.state.view import ACCOUNT_PREFIX, DIGEST_PREFIX, OPEN_COUNT_PREFIX, LedgerView
from pdfedchain.types.checkpoint import Account
from pdfedchain.types.event import Event
from pdfedchain.types.ledger import OpenCount
from tests.pdfedchain.ledger_world import cid_of

ADDRESSES = [Address(bytes([i]) * 32) for i in range(3)]
DIGESTS = [Hash(bytes([i]) * 32) for i in range(2)]
TASK = Hash(bytes(32))
TRANSFERRED = Transferred(ADDRESSES[0], ADDRESSES[1], 1)


class GivenUp(Exception):
    """Leaves an attempt."""


class Model:
    """The same writes, put into the tree at once and given up by forgetting it."""

    def __init__(self, tree: StateTree, events: tuple[Event, ...] = ()) -> None:
        self.tree, self.events = tree, events

    def put(self, key: bytes, value: bytes | None) -> None:
        self.tree = self.tree.delete(key) if value is None else self.tree.put(key, value)


def step(data: st.DataObject, draft: Draft, model: Model) -> None:
    address = data.draw(st.sampled_from(ADDRESSES))
    digest = data.draw(st.sampled_from(DIGESTS))
    view = LedgerView(model.tree)
    match data.draw(st.integers(0, 5), label="write"):
        case 0 | 1:
            account = Account(data.draw(st.integers(0, 2)), 0)
            draft.set_account(address, account)
            model.put(ACCOUNT_PREFIX + address, encode(account))
        case 2:
            holder = data.draw(st.sampled_from((cid_of("one"), cid_of("two"), None)))
            draft.set_digest_holder(digest, holder)
            model.put(DIGEST_PREFIX + digest, holder)
        case 3:
            difference = data.draw(st.sampled_from((1, 0 - view.open_count(TASK, address))))
            draft.add_to_open_count(TASK, address, difference)
            count = view.open_count(TASK, address) + difference
            model.put(OPEN_COUNT_PREFIX + TASK + address, encode(OpenCount(count)) if count else None)
        case 4:
            draft.emit(TRANSFERRED)
            model.events += (event_of(TRANSFERRED),)
        case _:
            with pytest.raises(DecodeError):
                draft.set_account(address, Account(UINT_MAX + 1, 0))
    view = LedgerView(model.tree)
    assert [draft.account(each) for each in ADDRESSES] == [view.account(each) for each in ADDRESSES]
    assert [draft.digest_holder(each) for each in DIGESTS] == [view.digest_holder(each) for each in DIGESTS]
    assert draft.open_count(TASK, address) == view.open_count(TASK, address)
    assert draft.events == model.events


def course(data: st.DataObject, draft: Draft, model: Model, depth: int) -> None:
    for _ in range(data.draw(st.integers(0, 5), label="steps")):
        if depth and data.draw(st.booleans(), label="attempt"):
            kept, given_up = (model.tree, model.events), data.draw(st.booleans(), label="given up")
            with suppress(GivenUp), draft.attempt():
                course(data, draft, model, depth - 1)
                if given_up:
                    raise GivenUp
            if given_up:
                model.tree, model.events = kept
        else:
            step(data, draft, model)


@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_a_draft_is_the_tree_with_its_writes_put_one_after_the_other(data: st.DataObject) -> None:
    before = (
        StateTree()
        .put(ACCOUNT_PREFIX + ADDRESSES[0], encode(Account(7, 7)))
        .put(DIGEST_PREFIX + DIGESTS[0], cid_of("one"))
    )
    draft, model = Draft(before), Model(before)
    course(data, draft, model, depth=2)
    after = draft.commit()
    assert (after.root, dict(after.items())) == (model.tree.root, dict(model.tree.items()))
    assert draft.events == model.events
    assert draft.tree is before


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_a_state_knows_decoded_is_what_lies_in_it(data: st.DataObject) -> None:
    tree = StateTree().put(ACCOUNT_PREFIX + ADDRESSES[0], encode(Account(7, 7)))
    for _ in range(data.draw(st.integers(1, 4), label="blocks")):
        draft, model = Draft(tree), Model(tree)
        course(data, draft, model, depth=2)
        tree = draft.commit()
        fresh = LedgerView(StateTree().update(dict(tree.items())))
        known = LedgerView(tree)
        assert [known.account(each) for each in ADDRESSES] == [fresh.account(each) for each in ADDRESSES]
        assert [known.digest_holder(each) for each in DIGESTS] == [fresh.digest_holder(each) for each in DIGESTS]
        assert [known.open_count(TASK, each) for each in ADDRESSES] == [
            fresh.open_count(TASK, each) for each in ADDRESSES
        ]


def test_a_value_out_of_bounds_is_refused_when_it_is_written() -> None:
    draft = Draft(StateTree())
    with pytest.raises(DecodeError, match="outside"):
        draft.set_account(ADDRESSES[0], Account(UINT_MAX + 1, 0))
    assert draft.account(ADDRESSES[0]) == Account(0, 0)
    assert draft.commit().root == StateTree().root
