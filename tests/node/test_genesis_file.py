"""genesis.json: written, read again, and every defect named with file and key."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.genesis_file import GenesisFile, load_genesis_file, save_genesis_file
from pdfedchain.codec import decode
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import UsageError
from pdfedchain.ids import Cid
from pdfedchain.types.ledger import LedgerGenesis
from tests.support.ledger import small_genesis, small_task

CID = Cid(b"\x01\x70\x12\x20" + bytes(32))
PEER = "/ip4/127.0.0.1/tcp/4610/p2p/12D3KooWD38jS25WHMrC6F4GcES8NKMieWdPbo4Mf48R81nzPEBh"


@pytest.fixture
def file() -> GenesisFile:
    genesis = small_genesis([SigningKey(bytes([i]) * 32).address for i in range(3)], small_task(CID, CID))
    ledger = decode(LedgerGenesis, genesis.application_state, size_bytes_max=10**6)
    return GenesisFile(genesis, ledger, (PEER,))


def test_what_is_written_is_read_again(tmp_path: Path, file: GenesisFile) -> None:
    save_genesis_file(tmp_path / "genesis.json", file)
    assert file == load_genesis_file(tmp_path / "genesis.json")
    document = json.loads((tmp_path / "genesis.json").read_text())
    assert "application_state" not in document["genesis"]
    assert file.genesis.hash.hex() == document["hash"]
    assert [path.name for path in tmp_path.iterdir()] == ["genesis.json"]


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    """A change of the document: the last item is the value, the others lead there."""
    *keys, last, value = path

    def change(document: Any) -> None:
        for key in keys:
            document = document[key]
        document[last] = value

    return change


def _delete(*path: Any) -> Callable[[dict[str, Any]], None]:
    *keys, last = path

    def change(document: Any) -> None:
        for key in keys:
            document = document[key]
        del document[last]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_delete("hash"), "hash is missing"),
        (_delete("peers"), "peers is missing"),
        (_set("extra", 1), "unknown key 'extra'"),
        (_set("peers", {}), "peers must be a list"),
        (_set("peers", ["/ip4/1.2.3.4/tcp/1"]), "peers must be multiaddrs"),
        (_set("peers", [7]), "peers must be multiaddrs"),
        (_set("hash", "00" * 32), "hash is .* the content has"),
        (_set("hash", 7), "hash is 7"),
        (_set("genesis", "chain_id", "another"), "hash is"),
        (_set("genesis", "chain_id", ""), "genesis: .*chain_id: 0 bytes, expected 1 to 64"),
        (_set("genesis", "chain_id", 3), "genesis: .*chain_id: expected str, found int"),
        (_set("genesis", "time_ms", 1.5), "genesis: .*time_ms: expected int, found float"),
        (_set("genesis", "application_state", ""), ".*without application_state"),
        (_set("genesis", []), "genesis must be an object"),
        (_delete("genesis", "authorities"), "genesis: .*missing keys .'authorities'"),
        (_set("genesis", "authorities", "members", []), "genesis: Genesis.authorities: .*members: 0 items"),
        (_set("genesis", "authorities", "members", ["00"]), "genesis: Genesis.authorities: .*members: 1 bytes"),
        (_set("genesis", "authorities", "members", ["zz" * 32]), "genesis: .*members"),
        (_set("genesis", "authorities", "members", ["00" * 32] * 2), ".*listed twice"),
        (
            _set("genesis", "parameters", "heartbeat_idle_ms", 0),
            "genesis: Genesis.parameters: .*heartbeat_idle_ms: 0 is outside",
        ),
        (_set("genesis", "application", "chess"), "genesis.application is 'chess'"),
        (_set("ledger", None), "ledger: .*expected an object"),
        (_set("ledger", "tasks", 0, "scorer", "bafy"), "ledger: .*scorer"),
        (_set("ledger", "tasks", 0, "scoring", "profile", "f16"), "ledger: .*profile"),
        (
            _set("ledger", "tasks", 0, "ceilings", "fid_micro_max", -1),
            "ledger: .*TaskSpec.ceilings: .*fid_micro_max: -1 is outside",
        ),
        (_delete("ledger", "parameters"), "ledger: .*missing keys .'parameters'"),
    ],
)
def test_a_defect_names_file_and_key(
    tmp_path: Path, file: GenesisFile, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = tmp_path / "genesis.json"
    save_genesis_file(path, file)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match=f"genesis.json: ({message})"):
        load_genesis_file(path)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{", b"\xff", b'{"hash": 1, "hash": 2}', b"[" * 100_000, b'{"a": NaN}']
)
def test_what_is_no_genesis_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "genesis.json"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"genesis\.json"):
        load_genesis_file(path)


def test_a_missing_file_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file") as caught:
        load_genesis_file(tmp_path / "genesis.json")
    assert "pdfed genesis" in caught.value.hint


def test_genesis_and_ledger_must_say_the_same(tmp_path: Path, file: GenesisFile) -> None:
    with pytest.raises(AssertionError):
        save_genesis_file(tmp_path / "genesis.json", replace(file, ledger=replace(file.ledger, tasks=())))
