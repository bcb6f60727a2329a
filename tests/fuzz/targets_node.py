"""What a node reads from peers and from files: frames, weights, requests, configuration."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import trio

from diffusion.tensorfile import TensorFileError, parse_tensors, write_tensors
from diffusion.worker import read_request
from node.channel import Channel, Hello, Kind, answer_channel
from node.config import parse_config, parse_roles
from node.errors import UsageError
from node.genesis_file import GenesisFile, load_genesis_file, save_genesis_file
from node.home import load_card
from node.host.interface import Stream
from node.mempool import Mempool, Origin
from node.multiaddress import parse_multiaddress
from node.state_sync import SnapshotServer
from node.sync import BlockServer
from node.transaction_gossip import TransactionGossip
from node.weights.cid import Block, Codec
from node.weights.dag import DirectoryNode, FileNode, Link, decode_node, encode_node
from node.weights.errors import MalformedWeights
from node.weights.messages import Answer, Want
from node.weights.serve import WeightsServer
from node.weights.store import WeightsStore
from node.weights.transfer import Transfer
from node.wire import BlockRequest, SnapshotRequest, TransactionBatch
from pdfedchain.codec import decode, encode
from pdfedchain.errors import DecodeError, InputError, SignatureError
from pdfedchain.ids import Hash
from pdfedchain.state.ledger import Ledger
from pdfedchain.store.memory import MemoryStore
from pdfedchain.testing.strategies import example_of
from pdfedchain.types.jobs import JobMessage
from pdfedchain.types.ledger import LedgerGenesis
from pdfedchain.types.transaction import SignedTransaction, Transaction
from pdfedchain.types.transaction import Transfer as Payment
from tests.fuzz.streams import StreamTarget, framed
from tests.fuzz.target import LENGTH_MAX, Target, scratch_folder
from tests.fuzz.targets_light import LightWorld
from tests.pdfedchain.ledger_world import CHAIN_ID, World, key_of

__all__ = ["MempoolTarget", "node_targets", "signed_payment"]


HELLO = Hello(1, CHAIN_ID, Hash(b"g" * 32), key_of("trainer").address, 5, b"sessions")


async def _handshake(stream: Stream) -> None:
    await answer_channel(stream, HELLO, lambda theirs: theirs.session == b"knownone")


async def _channel(stream: Stream) -> None:
    channel = Channel(stream, HELLO, opened_by_us=False)
    await channel.run(lambda peer_id, frame: None)


class MempoolTarget:
    """Gossip for a pool that checks against a ledger."""

    def __init__(self) -> None:
        self._world, self._ledger = World(), Ledger()
        self._pool = self.empty()

    def empty(self) -> Mempool:
        """A pool like the one that is fed."""

        def check(transaction: bytes) -> None:
            self._ledger.check(self._world.state, self._world.context(), transaction)

        def origin(data: bytes) -> Origin:
            transaction = decode(SignedTransaction, data, size_bytes_max=1_048_576).transaction
            return Origin(transaction.sender, transaction.nonce)

        return Mempool(check, origin, size_bytes_max=65_536, own_size_bytes=1_024)

    def __call__(self, data: bytes) -> None:
        if len(self._pool) > 20:
            self._pool = self.empty()
        try:
            transaction = decode(Transaction, data[1:], size_bytes_max=LENGTH_MAX)
        except DecodeError:
            raw = data
        else:
            key = key_of(("trainer", "voter", "nobody")[data[0] % 3])
            raw = encode(replace(transaction, chain_id=CHAIN_ID, sender=key.address).sign(key))
        try:
            self._pool.add(raw)
        except InputError:
            if raw in self._pool:
                raise AssertionError("refused and kept") from None
            return
        if self._pool.size_bytes > 65_536:
            raise AssertionError("the pool has outgrown its bound")


def _payment(nonce: int) -> bytes:
    key = key_of("trainer")
    return encode(Transaction(CHAIN_ID, key.address, nonce, Payment(key_of("voter").address, 1)))


async def _inline(work: Callable[[], Any]) -> Any:
    await trio.lowlevel.checkpoint()
    return work()


def signed_payment(nonce: int) -> bytes:
    key = key_of("trainer")
    return encode(Transaction(CHAIN_ID, key.address, nonce, Payment(key_of("voter").address, 1)).sign(key))


class GossipTarget:
    """Batches of transactions from neighbours, judged one by one by a pool."""

    def __init__(self) -> None:
        self._pool = MempoolTarget()

    def __call__(self, data: bytes) -> None:
        pool = self._pool.empty()
        gossip = TransactionGossip(pool.add, _publish_nothing, arrived=lambda: None, dropped=lambda: None)
        try:
            gossip.receive("peer", data)
        except (DecodeError, SignatureError):
            return


async def _publish_nothing(message: bytes) -> None:
    await trio.lowlevel.checkpoint()


class WeightsTarget:
    """Answers to the requests of a transfer: first the root, then what it names, as a lying peer may build them."""

    def __call__(self, data: bytes) -> None:
        blocks = [Block.of(Codec.DAG_PB if part[:1] != b"\x00" else Codec.RAW, part) for part in data.split(b"\xff|")]
        by_cid = {block.cid: block for block in blocks}
        transfer = Transfer(blocks[0].cid, size_bytes_max=2**20, peers=("peer",))
        try:
            for _ in range(50):
                for expected in transfer.take_discovered(10):
                    transfer.absent(expected)
                asked = transfer.next_request("peer")
                if not asked:
                    return
                for cid in asked:
                    if cid in by_cid:
                        transfer.received("peer", by_cid[cid])
                    else:
                        transfer.lacks("peer", cid)
        except MalformedWeights:
            return


def _dag_node(data: bytes) -> None:
    try:
        node = decode_node(data)
    except MalformedWeights:
        return
    if encode_node(node) != data:
        raise AssertionError("two encodings of one node")


def _answer(data: bytes) -> None:
    head, _, block = data.partition(b"\xff|")
    try:
        answer = decode(Answer, head, size_bytes_max=LENGTH_MAX)
        if answer.here:
            Block.check(answer.cid, block)
    except InputError:
        return


def _nodes() -> tuple[bytes, ...]:
    leaf = Block.of(Codec.RAW, b"weights")
    file = FileNode((Link(leaf.cid, "", 7), Link(leaf.cid, "", 7)), (7, 7))
    return (encode_node(file), encode_node(DirectoryNode((Link(leaf.cid, "a", 7), Link(leaf.cid, "b", 7)))))


def _tensor_file() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        write_tensors(path, {"a": np.zeros((2, 3), np.float32), "b": np.ones((), np.float32)})
        return path.read_bytes()


def _tensors(data: bytes) -> None:
    try:
        found = parse_tensors(data)
    except TensorFileError:
        return
    if sum(array.nbytes for array in found.values()) > len(data):
        raise AssertionError("more tensors than bytes")


def _request(data: bytes) -> None:
    try:
        read_request(io.BytesIO(data))
    except DecodeError:
        return


class FileTarget:
    """A reader of a file that a person or another program wrote."""

    def __init__(self, read: Callable[[Path], object]) -> None:
        self._path = scratch_folder() / "file"
        self._read = read

    def __call__(self, data: bytes) -> None:
        self._path.write_bytes(data)
        try:
            self._read(self._path)
        except UsageError:
            return


def _text(parse: Callable[[str], object], data: bytes) -> None:
    try:
        parse(data.decode("utf-8", "replace"))
    except (UsageError, InputError):
        return


_CONFIG = b"""[node]
name = "a"
roles = ["authority", "trainer"]
[network]
listen = "/ip4/127.0.0.1/tcp/4610"
peers = []
[training]
steps = 120
device = "cpu"
"""


def node_targets() -> Iterator[Target]:
    """Targets of `node`, and of what `diffusion` reads of others."""
    store = MemoryStore()
    world = World()
    store.initialise(world.genesis, world.state)
    weights = WeightsStore(scratch_folder())
    leaf = Block.of(Codec.RAW, b"weights")
    weights.put_block(leaf)
    requests = framed(encode(BlockRequest(1, 5)), encode(BlockRequest(0, 1)))
    wants = framed(encode(Want((leaf.cid,))), encode(Want((leaf.cid, leaf.cid))))
    hello = framed(bytes([Kind.HELLO]) + encode(HELLO))
    frames = framed(b"\x00message", b"\x01" + bytes(8), b"\x02" + bytes(8), b"")
    card = json.dumps(
        {
            "name": "a",
            "address": "ab" * 32,
            "peer_id": "12D3KooWA3VMPYSEsLtiCeR9teHkTRD9M5sRqC7wMroEqY3XKAwR",
            "listen": "/ip4/127.0.0.1/tcp/1",
            "dial": "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWA3VMPYSEsLtiCeR9teHkTRD9M5sRqC7wMroEqY3XKAwR",
            "roles": ["trainer"],
        }
    ).encode()
    job = encode(example_of(JobMessage))
    nodes = _nodes()
    yield Target("handle/block-requests", StreamTarget(BlockServer(store).handle), (requests, hello, b""))
    yield Target("handle/weights-requests", StreamTarget(WeightsServer(weights).handle), (wants, requests))
    yield Target("handle/handshake", StreamTarget(_handshake), (hello, framed(b"\x04")))
    yield Target("handle/channel", StreamTarget(_channel), (frames, hello))
    snapshots = SnapshotServer(LightWorld().store, interval=1, in_thread=_inline)
    snapshots.committed()
    asked = framed(encode(SnapshotRequest(None, 0, 1)), encode(SnapshotRequest(6, 0, 5)))
    yield Target("handle/snapshot-requests", StreamTarget(snapshots.handle), (asked, requests))
    batch = encode(TransactionBatch((signed_payment(0), b"none", signed_payment(1))))
    yield Target("handle/transaction-gossip", GossipTarget(), (batch, encode(TransactionBatch((signed_payment(0),)))))
    yield Target("handle/mempool", MempoolTarget(), tuple(b"\x00" + _payment(nonce) for nonce in (0, 1, 5)))
    yield Target("handle/weights-blocks", WeightsTarget(), (b"\xff|".join((nodes[1], nodes[0], b"\x00leaf")), *nodes))
    yield Target("parse/weights-node", _dag_node, nodes)
    yield Target("parse/weights-answer", _answer, (encode(Answer(leaf.cid, here=True)) + b"\xff|weights",))
    yield Target("parse/safetensors", _tensors, (_tensor_file(),))
    yield Target("parse/worker-request", _request, (len(job).to_bytes(4, "big") + job,))
    yield Target("parse/config", partial(_text, lambda text: parse_config(text, "config.toml")), (_CONFIG,))
    yield Target("parse/roles", partial(_text, parse_roles), (b"authority,trainer", b"observer"))
    yield Target(
        "parse/multiaddress",
        partial(_text, lambda text: parse_multiaddress(text, "--listen")),
        (b"/ip4/127.0.0.1/tcp/4610", b"/ip6/::1/tcp/1", b"/dns/a.b/tcp/65535"),
    )
    yield Target("parse/card", FileTarget(load_card), (card,))
    yield Target("parse/genesis-file", FileTarget(load_genesis_file), (b'{"format": 1}', _genesis_text()))


def _genesis_text() -> bytes:
    world = World()
    ledger = decode(LedgerGenesis, world.genesis.application_state, size_bytes_max=2**20)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "genesis.json"
        save_genesis_file(path, GenesisFile(world.genesis, ledger, ()))
        return path.read_bytes()
