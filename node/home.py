"""The home directory of one node: where everything lies, who may read it, and that one process at a time uses it.

::

    config.toml      settings (`node.config`)
    genesis.json     the chain it belongs to (`node.genesis_file`)
    card.json        what others need to know of it; nothing secret
    keys/            account.key, network.key: 64 hexadecimal digits, 0600
    chain.db         final blocks and state
    consensus.wal    what consensus has seen of the height under way
    signer.db        what the account key has signed for consensus; never restored from a copy
    weights/         blocks of weights by identifier
    private/         data/, ballots.db (sealed reports, salts), counts for de-duplication: never leaves this machine
    outbox/          transactions of `pdfed tx` for the running node (`node.outbox`)
    logs/            node.log of a testnet, worker-*.log
    activity.json    what the node is doing right now, for live views
    run.lock         held while a node runs

``Home(path)`` touches nothing. Loaders read one file each and name it in their errors.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.config import Config, NodeRole, check_name, load_config
from node.errors import HomeInUse
from node.genesis_file import GenesisFile, load_genesis_file
from node.host.identity import check_peer_id, peer_id_of_public_key
from pdfedchain.codec import from_plain, to_plain
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import DecodeError, UsageError
from pdfedchain.ids import Address, address_text, parse_address
from pdfedchain.store.durable import sync_file, sync_folder
from pdfedchain.types.governance import OnionAnchor

__all__ = ["Card", "Home", "load_card", "write_key"]

_CARD_SIZE_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Card:
    """``card.json``: what the maker of a genesis needs to know of a node.

    Attributes:
        address: account; signs transactions and, for an authority, consensus.
        dial: multiaddr with ``/p2p/`` under which others reach it.
        onion: an authority's commitment to its contributions to the beacon; ``None`` for one that makes none.
    """

    name: str
    address: Address
    peer_id: str
    listen: str
    dial: str
    roles: tuple[NodeRole, ...]
    onion: OnionAnchor | None = None

    def to_plain(self) -> dict[str, Any]:
        """As the file holds it."""
        return {
            "name": self.name,
            "address": address_text(self.address),
            "peer_id": self.peer_id,
            "listen": self.listen,
            "dial": self.dial,
            "roles": [role.value for role in self.roles],
            "onion": None if self.onion is None else to_plain(self.onion),
        }


def load_card(path: Path) -> Card:
    """Read a ``card.json``.

    Raises:
        UsageError: missing or defective; names the file and the key.
    """
    try:
        with path.open("rb") as file:
            plain = json.loads(file.read(_CARD_SIZE_BYTES_MAX))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="`pdfed init` makes it") from error
    except ValueError as error:
        raise UsageError(f"{path} is not the JSON of a card: {error}") from error
    try:
        card = Card(
            name=check_name(_text(plain, "name"), "name"),
            address=parse_address(_text(plain, "address")),
            peer_id=check_peer_id(_text(plain, "peer_id")),
            listen=_text(plain, "listen"),
            dial=_text(plain, "dial"),
            roles=tuple(NodeRole(role) for role in plain["roles"]),
            onion=None if plain.get("onion") is None else from_plain(OnionAnchor, plain["onion"]),
        )
    except KeyError as error:
        raise UsageError(f"{path}: {error.args[0]} is missing") from error
    except (DecodeError, UsageError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error
    if not card.roles:
        raise UsageError(f"{path}: roles is empty")
    if not card.dial.startswith("/") or not card.dial.endswith(f"/p2p/{card.peer_id}"):
        raise UsageError(f"{path}: dial must be a multiaddr that ends in /p2p/{card.peer_id}, found {card.dial!r}")
    return card


def _text(plain: Any, key: str) -> str:
    if not isinstance(plain, dict):
        raise UsageError("a card is a JSON object")
    value = plain[key]
    if not isinstance(value, str):
        raise UsageError(f"{key} must be a text, found {type(value).__name__}")
    return value


def write_key(path: Path, key: SigningKey) -> None:
    """Write a key file that only its owner can read; never over an existing one.

    Raises:
        OSError: it exists, or the disk refuses.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key.seed.hex() + "\n")
        file.flush()
        sync_file(file.fileno())
    sync_folder(path.parent)


class Home:
    """Paths and loaders of one home directory."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().absolute()

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    # Paths

    @property
    def config_path(self) -> Path:
        return self.path / "config.toml"

    @property
    def genesis_path(self) -> Path:
        return self.path / "genesis.json"

    @property
    def card_path(self) -> Path:
        return self.path / "card.json"

    @property
    def keys_dir(self) -> Path:
        return self.path / "keys"

    @property
    def account_key_path(self) -> Path:
        return self.keys_dir / "account.key"

    @property
    def network_key_path(self) -> Path:
        return self.keys_dir / "network.key"

    @property
    def chain_db(self) -> Path:
        return self.path / "chain.db"

    @property
    def consensus_wal(self) -> Path:
        return self.path / "consensus.wal"

    @property
    def signer_db(self) -> Path:
        return self.path / "signer.db"

    @property
    def ballots_db(self) -> Path:
        return self.private_dir / "ballots.db"

    @property
    def weights_dir(self) -> Path:
        return self.path / "weights"

    @property
    def private_dir(self) -> Path:
        return self.path / "private"

    @property
    def logs_dir(self) -> Path:
        return self.path / "logs"

    @property
    def outbox_dir(self) -> Path:
        return self.path / "outbox"

    @property
    def activity_path(self) -> Path:
        return self.path / "activity.json"

    @property
    def lock_path(self) -> Path:
        return self.path / "run.lock"

    @property
    def folders_dir(self) -> Path:
        """Where weights are laid out as folders while a worker reads them; emptied at start."""
        return self.path / "weights" / "folders"

    # Loaders

    def require(self) -> Home:
        """This home, if it is one.

        Raises:
            UsageError: there is no home directory here.
        """
        if not self.config_path.is_file():
            raise UsageError(
                f"{self.path} is no home directory: config.toml is missing",
                hint=f"pdfed init --home {self.path} --name NAME --roles ROLES --listen ADDRESS",
            )
        return self

    def config(self) -> Config:
        """``config.toml``.

        Raises:
            UsageError: see `load_config`.
        """
        return load_config(self.config_path)

    def genesis(self) -> GenesisFile:
        """``genesis.json``.

        Raises:
            UsageError: see `load_genesis_file`.
        """
        return load_genesis_file(self.genesis_path)

    def card(self) -> Card:
        """``card.json``.

        Raises:
            UsageError: see `load_card`.
        """
        return load_card(self.card_path)

    def account_key(self) -> SigningKey:
        """The key that signs transactions and consensus messages.

        Raises:
            UsageError: missing, readable by others, or no key.
        """
        return _load_key(self.account_key_path)

    def network_key(self) -> SigningKey:
        """The key of the libp2p identity; its ``seed`` opens the host.

        Raises:
            UsageError: missing, readable by others, or no key.
        """
        return _load_key(self.network_key_path)

    def peer_id(self) -> str:
        """This node's libp2p name.

        Raises:
            UsageError: see `network_key`.
        """
        return peer_id_of_public_key(self.network_key().address)

    def data_dir(self, config: Config) -> Path:
        """Folder with the private images."""
        return self.path / config.data.path

    def peers(self, config: Config, genesis: GenesisFile) -> tuple[str, ...]:
        """Where to dial: the peers of the configuration, then those of genesis, without this node and without repeats.

        Raises:
            UsageError: see `network_key`.
        """
        own = f"/p2p/{self.peer_id()}"
        every = dict.fromkeys((*config.network.peers, *genesis.peers))
        return tuple(peer for peer in every if not peer.endswith(own))

    # One process at a time

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home for the time of the block. The operating system lets go when the process ends.

        Raises:
            HomeInUse: another process holds it.
            UsageError: the directory does not exist or cannot be written.
        """
        try:
            descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise UsageError(f"{self.lock_path} cannot be opened: {error.strerror}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
                raise HomeInUse(
                    f"{self.path} is in use by process {holder}", hint="stop that node first; one home, one process"
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)


def _load_key(path: Path) -> SigningKey:
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise UsageError(f"{path} can be read by others", hint=f"chmod 600 {path}")
        with path.open("rb") as file:
            text = file.read(128)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="`pdfed init` makes keys") from error
    digits = text.removesuffix(b"\n")
    if len(digits) != 64 or not all(digit in b"0123456789abcdef" for digit in digits):
        raise UsageError(f"{path} is no key file: it must hold 64 lower-case hexadecimal digits")
    return SigningKey(bytes.fromhex(digits.decode()))
