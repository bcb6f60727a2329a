"""Making a home directory: fresh keys, a configuration, a card for whoever makes the genesis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from node.config import Config, NetworkConfig, NodeConfig, NodeRole, check_name
from node.config_text import render_config
from node.home import Card, Home, write_key
from node.host.identity import peer_id_of_public_key
from node.multiaddress import parse_multiaddress
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import UsageError
from pdfedchain.state.onion import new_onion

__all__ = ["create_home", "renew_card"]


def create_home(
    path: Path, *, name: str, roles: Sequence[NodeRole], listen: str, advertise: str | None = None
) -> tuple[Home, Card]:
    """Make a home directory.

    Args:
        path: must not exist, or be an empty directory.
        listen: ``/ip4/.../tcp/PORT``.
        advertise: address others dial, where it differs from ``listen`` (wildcards, port forwarding).

    Raises:
        UsageError: the directory is not empty, or a name or address is wrong; nothing was made.
        OSError: the disk refuses.
    """
    home = Home(path)
    check_name(name, "--name")
    where = parse_multiaddress(listen, "--listen")
    if advertise is not None:
        where = parse_multiaddress(advertise, "--advertise")
    if where.is_wildcard:
        raise UsageError(
            f"nobody can dial {advertise or listen}",
            hint="name the address others reach this node at: --advertise /ip4/ADDRESS/tcp/PORT",
        )
    _require_empty(home.path)
    for directory in (home.path, home.keys_dir, home.private_dir):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.logs_dir.mkdir()
    account, network = SigningKey.generate(), SigningKey.generate()
    write_key(home.account_key_path, account)
    write_key(home.network_key_path, network)
    peer_id = peer_id_of_public_key(network.address)
    onion = new_onion(account) if NodeRole.AUTHORITY in roles else None
    card = Card(name, account.address, peer_id, listen, f"{advertise or listen}/p2p/{peer_id}", tuple(roles), onion)
    _write_card(home, card)
    config = Config(NodeConfig(name, tuple(roles)), NetworkConfig(listen))
    home.config_path.write_text(render_config(config), encoding="utf-8")
    return home, card


def renew_card(home: Home) -> Card:
    """Write the card with an onion that was never used.

    Raises:
        UsageError: the home has no usable card or key.
        OSError: the disk refuses.
    """
    card = replace(home.card(), onion=new_onion(home.account_key()))
    _write_card(home, card)
    return card


def _write_card(home: Home, card: Card) -> None:
    home.card_path.write_text(json.dumps(card.to_plain(), indent=1) + "\n", encoding="utf-8")


def _require_empty(path: Path) -> None:
    try:
        occupied = any(path.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path} cannot be used as a directory: {error.strerror}") from error
    if occupied:
        raise UsageError(f"{path} is not empty", hint="choose another directory; a home is never written over")
