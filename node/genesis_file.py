"""``genesis.json``: the root of trust of a chain, readable by people.

::

    {"hash": hex, "genesis": {...}, "ledger": {...}, "peers": ["/ip4/.../p2p/...", ...]}

``genesis.application_state`` is left out and encoded again from ``ledger``, so that nothing is said twice; the hash
over the canonical encoding of all of it is checked. ``peers`` is advice on where to dial and not covered by the hash.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pdfedchain.codec import decode, encode, from_plain, to_plain
from pdfedchain.errors import DecodeError, UsageError
from pdfedchain.store.durable import replace_file
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.ledger import LedgerGenesis

__all__ = ["LEDGER_NAME", "GenesisFile", "load_genesis_file", "save_genesis_file"]

#: `Genesis.application` of the federated-learning ledger.
LEDGER_NAME: Final = "pdfed-ledger"

GENESIS_SIZE_BYTES_MAX: Final = 134_217_728
_KEYS: Final = ("hash", "genesis", "ledger", "peers")


@dataclass(frozen=True, slots=True)
class GenesisFile:
    """What ``genesis.json`` says.

    Attributes:
        genesis: complete, with ``application_state``.
        ledger: the same application state, decoded.
        peers: multiaddrs with ``/p2p/`` of those who were there at the start.
    """

    genesis: Genesis
    ledger: LedgerGenesis
    peers: tuple[str, ...]


def save_genesis_file(path: Path, file: GenesisFile) -> None:
    """Write the file as a whole.

    Raises:
        OSError: the disk refuses.
    """
    assert encode(file.ledger) == file.genesis.application_state, "genesis and ledger say the same"
    plain = to_plain(file.genesis)
    del plain["application_state"]
    document = {
        "hash": file.genesis.hash.hex(),
        "genesis": plain,
        "ledger": to_plain(file.ledger),
        "peers": list(file.peers),
    }
    replace_file(path, (json.dumps(document, indent=1) + "\n").encode())


def load_genesis_file(path: Path) -> GenesisFile:
    """Read and check the file.

    Raises:
        UsageError: missing, unreadable, or defective; names the file and the key.
    """
    try:
        return _load(path)
    except UsageError as error:
        hint = error.hint or "get the file again from whoever made it; `pdfed genesis` makes one for a new chain"
        raise UsageError(str(error), hint=hint) from error


def _load(path: Path) -> GenesisFile:
    document = _read(path)
    for key in _KEYS:
        if key not in document:
            raise UsageError(f"{path}: {key} is missing")
    for key in document:
        if key not in _KEYS:
            raise UsageError(f"{path}: unknown key {key!r}", hint=f"valid keys: {', '.join(_KEYS)}")
    peers = _peers(path, document["peers"])
    try:
        ledger = from_plain(LedgerGenesis, document["ledger"])
    except (DecodeError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: ledger: {error}") from error
    plain = document["genesis"]
    if not isinstance(plain, dict) or "application_state" in plain:
        raise UsageError(f"{path}: genesis must be an object without application_state, which ledger stands for")
    try:
        genesis = from_plain(Genesis, {**plain, "application_state": encode(ledger).hex()})
        # Rules of the dataclasses themselves, and the bounds of what is nested, hold only through the decoder.
        decode(Genesis, encode(genesis), size_bytes_max=GENESIS_SIZE_BYTES_MAX)
        decode(LedgerGenesis, genesis.application_state, size_bytes_max=GENESIS_SIZE_BYTES_MAX)
    except (DecodeError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: genesis: {error}") from error
    if genesis.application != LEDGER_NAME:
        raise UsageError(f"{path}: genesis.application is {genesis.application!r}, this program runs {LEDGER_NAME!r}")
    if document["hash"] != genesis.hash.hex():
        raise UsageError(
            f"{path}: hash is {document['hash']!r}, the content has {genesis.hash.hex()}",
            hint="the file was changed after it was made; get it again from whoever made it",
        )
    return GenesisFile(genesis, ledger, peers)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            data = stream.read(GENESIS_SIZE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="`pdfed genesis` makes it; copy it into the home"
        ) from error
    if len(data) > GENESIS_SIZE_BYTES_MAX:
        raise UsageError(f"{path} has more than {GENESIS_SIZE_BYTES_MAX} bytes")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not the JSON of a genesis file: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} must hold a JSON object")
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key appears twice")
    return result


def _peers(path: Path, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise UsageError(f"{path}: peers must be a list")
    for peer in value:
        if not isinstance(peer, str) or not peer.startswith("/") or "/p2p/" not in peer:
            raise UsageError(f"{path}: peers must be multiaddrs with /p2p/, found {peer!r}")
    return tuple(value)
