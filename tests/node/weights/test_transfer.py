"""The decisions of a transfer: who is asked for what, when it ends, and what peers cannot do to it."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.weights.cid import Block, Codec
from node.weights.dag import DirectoryNode, Link, encode_node
from node.weights.errors import MalformedWeights, PeerFault, PeerFaultKind, WeightsTooLarge
from node.weights.limits import (
    IN_FLIGHT_FIRST,
    IN_FLIGHT_MAX,
    IN_FLIGHT_PER_PEER,
    LACKS_PER_PEER_MAX,
    NODE_ASKED_OF_MAX,
    REQUEST_COUNT,
)
from node.weights.transfer import Done, NeedBlocks, NeedRoot, Transfer
from node.weights.tree import Layout, put_directory, put_file, tree_size_bytes
from pdfedchain.ids import Cid

SMALL = Layout(chunk_size_bytes=4, links_max=8)
MANY = 10**9


def squeeze(name: str, size_bytes: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(size_bytes)


class Folder:
    """A folder of one file, as blocks."""

    def __init__(self, size_bytes: int = 100) -> None:
        self.blocks: dict[Cid, Block] = {}
        file = put_file(io.BytesIO(squeeze("file", size_bytes)), self.put, SMALL)
        self.cid = put_directory([Link(file.cid, "weights", file.tsize_bytes)], self.put).cid

    def put(self, block: Block) -> None:
        self.blocks[block.cid] = block

    @property
    def size_bytes(self) -> int:
        return tree_size_bytes(self.blocks[self.cid])

    def transfer(self, *peers: str, size_bytes_max: int = MANY) -> Transfer:
        return Transfer(self.cid, size_bytes_max=size_bytes_max, peers=peers, layout=SMALL)


def look_up(transfer: Transfer, store: dict[Cid, Block]) -> None:
    while batch := transfer.take_discovered(3):
        for expected in batch:
            if expected.cid in store:
                transfer.found(expected, store[expected.cid])
            else:
                transfer.absent(expected)


def drop(transfer: Transfer, peer_id: str, kind: PeerFaultKind = PeerFaultKind.STALLED) -> PeerFault:
    fault = PeerFault(peer_id, kind, "in a test")
    transfer.drop(fault)
    return fault


def test_stages_follow_each_other() -> None:
    folder = Folder()
    transfer = folder.transfer("a")
    look_up(transfer, {})
    assert isinstance(transfer.stage, NeedRoot)
    assert transfer.stage.progress.size_total_bytes is None
    assert transfer.next_request("a") == (folder.cid,)
    transfer.received("a", folder.blocks[folder.cid])
    assert isinstance(transfer.stage, NeedBlocks)
    assert transfer.stage.progress.size_total_bytes == folder.size_bytes
    while not isinstance(transfer.stage, Done):
        look_up(transfer, {})
        for cid in transfer.next_request("a"):
            transfer.received("a", folder.blocks[cid])
    progress = transfer.stage.progress
    assert len(folder.blocks) == progress.blocks == progress.blocks_known
    assert folder.size_bytes == progress.size_bytes == progress.size_total_bytes


def test_what_the_store_has_is_not_asked_for() -> None:
    folder = Folder()
    transfer = folder.transfer("a")
    lacking = Block.of(Codec.RAW, squeeze("file", 100)[40:44])
    look_up(transfer, {cid: block for cid, block in folder.blocks.items() if cid != lacking.cid})
    assert transfer.next_request("a") == (lacking.cid,)
    transfer.received("a", lacking)
    assert isinstance(transfer.stage, Done)


def test_a_complete_store_needs_no_peer() -> None:
    folder = Folder()
    transfer = folder.transfer()
    look_up(transfer, folder.blocks)
    assert isinstance(transfer.stage, Done)
    assert not transfer.stuck


def test_a_chunk_is_asked_of_one_peer_at_a_time() -> None:
    folder = Folder()
    transfer = folder.transfer("a", "b")
    lacking = Block.of(Codec.RAW, squeeze("file", 100)[40:44])
    look_up(transfer, {cid: block for cid, block in folder.blocks.items() if cid != lacking.cid})
    assert transfer.next_request("a") == (lacking.cid,)
    assert transfer.next_request("b") == ()
    assert transfer.next_request("a") == ()
    assert transfer.asked("a") == {lacking.cid}
    assert transfer.asked("b") == frozenset()


def test_a_node_is_asked_of_several_since_nothing_else_can_be_asked_for_before() -> None:
    folder = Folder()
    names = [f"peer {number}" for number in range(NODE_ASKED_OF_MAX + 1)]
    transfer = folder.transfer(*names)
    look_up(transfer, {})
    asked = [transfer.next_request(name) for name in names]
    assert asked == [(folder.cid,)] * NODE_ASKED_OF_MAX + [()]
    transfer.received(names[2], folder.blocks[folder.cid])
    assert not transfer.is_missing(folder.cid)
    transfer.received_late(names[0], folder.cid)
    assert transfer.asked(names[0]) == frozenset()


def in_the_middle(*peers: str) -> tuple[Folder, Transfer]:
    """A transfer that wants some hundred chunks."""
    folder = Folder(1_000)
    transfer = folder.transfer(*peers)
    nodes = {cid: block for cid, block in folder.blocks.items() if cid[1] == Codec.DAG_PB}
    look_up(transfer, nodes)
    return folder, transfer


def test_each_peer_and_all_together_have_a_window() -> None:
    peers = [f"peer {number}" for number in range(10)]
    _, transfer = in_the_middle(*peers)
    asked = [transfer.next_request(peer) for peer in peers]
    assert [len(request) for request in asked] == [IN_FLIGHT_FIRST] * 8 + [1, 1]
    assert sum(map(len, asked)) == len({cid for request in asked for cid in request})


def test_a_peer_earns_its_window() -> None:
    folder, transfer = in_the_middle("a")
    windows = []
    for _ in range(4):
        request = transfer.next_request("a")
        windows.append(len(request))
        for cid in request:
            transfer.received("a", folder.blocks[cid])
    assert windows == [IN_FLIGHT_FIRST, 2 * IN_FLIGHT_FIRST, IN_FLIGHT_PER_PEER, IN_FLIGHT_PER_PEER]


def test_a_peer_that_owes_much_is_asked_for_several_at_once() -> None:
    folder, transfer = in_the_middle("a")
    while len(transfer.asked("a")) < IN_FLIGHT_PER_PEER:
        for cid in transfer.asked("a"):
            transfer.received("a", folder.blocks[cid])
        transfer.next_request("a")
    more = []
    for cid in sorted(transfer.asked("a")):
        assert transfer.owes("a", cid)
        transfer.received("a", folder.blocks[cid])
        assert not transfer.owes("a", cid)
        more.append(len(transfer.next_request("a")))
    assert more == [0, 0, 0, REQUEST_COUNT] * 2
    assert transfer.owed("a") == IN_FLIGHT_PER_PEER
    assert transfer.owed("b") == 0
    assert not transfer.owes("b", min(transfer.asked("a")))


def test_what_a_slow_peer_owes_is_asked_of_a_faster_one_in_the_end() -> None:
    folder, transfer = in_the_middle("slow", "fast", "late")
    owed = transfer.next_request("slow")
    given: list[Cid] = []
    while request := transfer.next_request("fast"):
        for cid in request:
            assert transfer.is_missing(cid)
            given.append(cid)
            transfer.received("fast", folder.blocks[cid])
    assert isinstance(transfer.stage, Done)
    assert set(owed) == set(given[-len(owed) :])
    assert len(given) == len(set(given))
    for cid in owed:
        assert not transfer.is_missing(cid)
        transfer.received_late("slow", cid)
    assert transfer.asked("slow") == frozenset()


def test_peers_of_one_speed_are_not_asked_for_the_same() -> None:
    folder, transfer = in_the_middle("a", "b")
    given: list[Cid] = []
    while not isinstance(transfer.stage, Done):
        for peer in ("a", "b"):
            transfer.next_request(peer)
            for cid in sorted(transfer.asked(peer))[:1]:
                given.append(cid)
                transfer.received(peer, folder.blocks[cid])
    assert len(given) == len(set(given))


def test_a_block_that_two_were_asked_for_and_one_lacks_is_not_wanted_again() -> None:
    folder, transfer = in_the_middle("slow", "fast")
    owed = transfer.next_request("slow")
    while not set(request := transfer.next_request("fast")) & set(owed):
        for cid in request:
            transfer.received("fast", folder.blocks[cid])
    transfer.lacks("slow", request[0])
    assert transfer.wanted == ()
    transfer.release("fast")
    assert request[0] in transfer.wanted


def test_peers_may_join_but_not_those_that_were_dropped() -> None:
    folder, transfer = in_the_middle("a")
    drop(transfer, "a")
    assert not transfer.add_peer("a")
    assert transfer.stuck
    assert transfer.add_peer("b")
    assert not transfer.add_peer("b")
    while request := transfer.next_request("b"):
        for cid in request:
            transfer.received("b", folder.blocks[cid])
    assert isinstance(transfer.stage, Done)


def test_what_a_dropped_peer_owes_is_asked_of_another() -> None:
    folder, transfer = in_the_middle("a", "b")
    owed = transfer.next_request("a")
    fault = drop(transfer, "a")
    assert transfer.faults == (fault,)
    assert transfer.next_request("a") == ()
    given: list[Cid] = []
    while request := transfer.next_request("b"):
        for cid in request:
            given.append(cid)
            transfer.received("b", folder.blocks[cid])
    assert set(owed) < set(given)
    assert len(given) == len(set(given))
    assert isinstance(transfer.stage, Done)


def test_a_peer_whose_stream_broke_may_be_asked_again() -> None:
    _, transfer = in_the_middle("a")
    assert len(transfer.next_request("a")) == IN_FLIGHT_FIRST
    transfer.release("a")
    assert transfer.asked("a") == frozenset()
    assert len(transfer.next_request("a")) == IN_FLIGHT_FIRST
    assert transfer.faults == ()


def test_a_peer_is_not_asked_again_for_what_it_lacks() -> None:
    folder = Folder()
    transfer = folder.transfer("a", "b")
    look_up(transfer, {})
    transfer.next_request("a")
    transfer.lacks("a", folder.cid)
    assert transfer.next_request("a") == ()
    assert not transfer.stuck
    assert transfer.next_request("b") == (folder.cid,)
    assert not transfer.stuck
    transfer.lacks("b", folder.cid)
    assert transfer.stuck
    assert transfer.wanted == (folder.cid,)


def test_a_peer_that_lacks_very_much_is_left_alone() -> None:
    folder = Folder(8 * LACKS_PER_PEER_MAX)
    transfer = folder.transfer("a")
    look_up(transfer, {cid: block for cid, block in folder.blocks.items() if cid[1] == Codec.DAG_PB})
    asked = 0
    while request := transfer.next_request("a"):
        for cid in request:
            asked += 1
            transfer.lacks("a", cid)
    assert asked == LACKS_PER_PEER_MAX
    assert len(transfer.wanted) > LACKS_PER_PEER_MAX
    assert transfer.stuck


def test_without_peers_it_is_stuck_at_once_but_not_before_the_store_was_asked() -> None:
    transfer = Folder().transfer()
    assert not transfer.stuck
    batch = transfer.take_discovered(1)
    assert not transfer.stuck
    transfer.absent(batch[0])
    assert transfer.stuck


def test_the_last_peer_being_dropped_leaves_it_stuck() -> None:
    _, transfer = in_the_middle("a")
    transfer.next_request("a")
    assert not transfer.stuck
    drop(transfer, "a", PeerFaultKind.LIED)
    assert transfer.stuck


def test_dropping_twice_counts_once() -> None:
    _, transfer = in_the_middle("a")
    fault = drop(transfer, "a")
    drop(transfer, "a")
    assert transfer.faults == (fault,)


def test_too_large_is_known_from_the_root() -> None:
    folder = Folder()
    for size_bytes_max, ok in ((folder.size_bytes, True), (folder.size_bytes - 1, False)):
        transfer = folder.transfer("a", size_bytes_max=size_bytes_max)
        look_up(transfer, {})
        transfer.next_request("a")
        if ok:
            transfer.received("a", folder.blocks[folder.cid])
        else:
            with pytest.raises(WeightsTooLarge, match=f"at most {size_bytes_max}"):
                transfer.received("a", folder.blocks[folder.cid])


def test_too_many_blocks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.weights.transfer.BLOCKS_MAX", 10)
    with pytest.raises(WeightsTooLarge, match="more than 10 blocks"):
        in_the_middle("a")


def test_a_malformed_folder_is_nobodys_fault_but_its_authors() -> None:
    folder = Folder()
    lying = Block.of(Codec.DAG_PB, encode_node(DirectoryNode((Link(Block.of(Codec.RAW, b"abc").cid, "a", 4),))))
    transfer = Transfer(lying.cid, size_bytes_max=MANY, peers=("a",), layout=SMALL)
    look_up(transfer, {lying.cid: lying})
    (wanted,) = transfer.next_request("a")
    with pytest.raises(MalformedWeights, match="3 bytes where its parent says 4"):
        transfer.received("a", Block.check(wanted, b"abc"))
    assert transfer.faults == ()
    assert folder.cid != lying.cid


def test_one_block_in_two_places_is_asked_for_once_and_judged_in_both() -> None:
    leaf = Block.of(Codec.RAW, b"abc")
    root = Block.of(Codec.DAG_PB, encode_node(DirectoryNode((Link(leaf.cid, "a", 3), Link(leaf.cid, "b", 3)))))
    transfer = Transfer(root.cid, size_bytes_max=MANY, peers=("a",), layout=SMALL)
    look_up(transfer, {root.cid: root})
    assert transfer.next_request("a") == (leaf.cid,)
    transfer.received("a", leaf)
    assert isinstance(transfer.stage, Done)
    root = Block.of(Codec.DAG_PB, encode_node(DirectoryNode((Link(leaf.cid, "a", 3), Link(leaf.cid, "b", 2)))))
    transfer = Transfer(root.cid, size_bytes_max=MANY, peers=("a",), layout=SMALL)
    look_up(transfer, {root.cid: root})
    assert transfer.next_request("a") == (leaf.cid,)
    with pytest.raises(MalformedWeights):
        transfer.received("a", leaf)


@given(st.data())
def test_whatever_happens_it_ends_and_finishes_when_honest_peers_have_everything(data: st.DataObject) -> None:
    """Random peers with random parts, which break, fail and lack in any order."""
    folder = Folder(data.draw(st.integers(0, 120), label="size"))
    every = sorted(folder.blocks)
    some = st.frozensets(st.sampled_from(every))
    peers = {f"peer {number}": held for number, held in enumerate(data.draw(st.lists(some, max_size=3)))}
    if data.draw(st.booleans(), label="somebody has all"):
        peers["honest"] = frozenset(every)
    store = {cid: folder.blocks[cid] for cid in data.draw(some)}
    transfer = folder.transfer(*peers)
    owed: dict[str, list[Cid]] = {peer: [] for peer in peers}
    received: set[Cid] = set()
    for _ in range(10_000):
        look_up(transfer, store)
        if isinstance(transfer.stage, Done) or transfer.stuck:
            break
        for peer in owed:
            owed[peer] += transfer.next_request(peer)
        assert sum(map(len, owed.values())) <= IN_FLIGHT_MAX + len(peers)
        peer = data.draw(st.sampled_from(sorted(peer for peer, cids in owed.items() if cids)))
        event = "answer" if peer == "honest" else data.draw(st.sampled_from(["answer"] * 6 + ["break", "drop"]))
        if event == "answer":
            cid = owed[peer].pop(0)
            if cid not in peers[peer]:
                transfer.lacks(peer, cid)
                continue
            if cid in received:
                assert not transfer.is_missing(cid)
                transfer.received_late(peer, cid)
                continue
            received.add(cid)
            transfer.received(peer, folder.blocks[cid])
        elif event == "break":
            owed[peer] = []
            transfer.release(peer)
        else:
            owed[peer] = []
            drop(transfer, peer)
    if "honest" in peers:
        assert isinstance(transfer.stage, Done)
    assert isinstance(transfer.stage, Done) != transfer.stuck
    if isinstance(transfer.stage, Done):
        assert set(every) == received | set(store)
