"""Two nodes of two homes over real connections: the second begins with the first one's state."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

import pytest
import trio

from node.config import NodeRole, load_config
from node.genesis_file import GenesisFile, load_genesis_file, save_genesis_file
from node.home import Home
from node.multiaddress import free_ports
from node.new_home import create_home
from node.run import run_node
from pdfedchain.store.sqlite import SqliteStore
from tests.support.home_chain import HomeChain


def member(directory: Path, port: int) -> tuple[Home, int]:
    """A home with a chain of an authority that does not train; and its height."""
    chain = HomeChain(directory)
    chain.register()
    chain.settle(chain.submit("weights"))
    height = chain.position.height - 1
    chain.close()
    config = chain.home.config_path
    config.write_text(config.read_text().replace(', "trainer"', "").replace("/tcp/4610", f"/tcp/{port}"))
    return chain.home, height


def joiner(directory: Path, known: Home, port: int, own_port: int) -> Home:
    """An empty home of the same chain that wants to begin with a snapshot."""
    home, _ = create_home(directory, name="bob", roles=(NodeRole.OBSERVER,), listen=f"/ip4/127.0.0.1/tcp/{own_port}")
    genesis = load_genesis_file(known.genesis_path)
    dial = f"/ip4/127.0.0.1/tcp/{port}/p2p/{known.peer_id()}"
    save_genesis_file(home.genesis_path, GenesisFile(genesis.genesis, genesis.ledger, (dial,)))
    text = home.config_path.read_text().replace("from_snapshot = false", "from_snapshot = true")
    home.config_path.write_text(text)
    assert load_config(home.config_path).sync.from_snapshot
    return home


async def test_an_empty_home_joins_by_a_snapshot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port, own_port = free_ports(2)
    alice, height = member(tmp_path / "alice", port)
    bob = joiner(tmp_path / "bob", alice, port, own_port)
    with caplog.at_level(logging.INFO, "node.state_sync"), trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_node, alice)
            await run_node(bob, until_height=height)
            nursery.cancel_scope.cancel()
    assert "joined at height" in caplog.text
    with closing(SqliteStore(alice.chain_db)) as full, closing(SqliteStore(bob.chain_db)) as joined:
        assert joined.headers_from() >= height
        assert joined.light_block(joined.headers_from()).hash == full.light_block(joined.headers_from()).hash
        assert joined.genesis() == full.genesis()


async def test_an_empty_home_without_offers_begins_with_genesis(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.state_sync._ROUND_PAUSE_S", 0.01)
    port, own_port = free_ports(2)
    alice, _ = member(tmp_path / "alice", port)
    bob = joiner(tmp_path / "bob", alice, port, own_port)
    with trio.fail_after(60):
        await run_node(bob, until_height=0)
    assert "beginning with genesis" in caplog.text
    with closing(SqliteStore(bob.chain_db)) as begun:
        assert (begun.height(), begun.headers_from()) == (0, 1)
        assert begun.genesis() is not None
