"""Homes and genesis of a testnet, made with the functions behind ``pdfed init`` and ``pdfed genesis``.

Every node is an authority and trains, but the last of three or more, which only evaluates: the paper's validation-only
node. Each listens on its own loopback port.
"""

from __future__ import annotations

import dataclasses
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.config import NodeRole
from node.config_text import render_config
from node.genesis_file import GenesisFile
from node.home import Home
from node.multiaddress import free_ports, parse_multiaddress
from node.new_genesis import GenesisPlan
from node.new_home import create_home
from pdfedchain.errors import UsageError
from pdfedchain.ids import Hash

__all__ = ["NODES_MAX", "TestnetPlan", "check_ports", "find_homes", "make_homes", "roles_of"]

#: Each takes some 300 MB with its workers.
NODES_MAX: Final = 64

_EVALUATOR_FROM_NODES: Final = 3


@dataclass(frozen=True, slots=True)
class TestnetPlan:
    """What a testnet is.

    Attributes:
        directory: homes are ``directory/node0``, ``node1``, ...
        steps: optimiser steps per submission; ``None`` for the default.
        split_seed: see `GenesisPlan`.
    """

    __test__ = False  # the name is not a test's

    directory: Path
    nodes: int
    dataset: str
    steps: int | None
    split_seed: Hash


def roles_of(index: int, nodes: int) -> tuple[NodeRole, ...]:
    """What node ``index`` of ``nodes`` does."""
    if nodes >= _EVALUATOR_FROM_NODES and index == nodes - 1:
        return NodeRole.AUTHORITY, NodeRole.EVALUATOR
    return NodeRole.AUTHORITY, NodeRole.TRAINER


def make_homes(plan: TestnetPlan, make_genesis: Callable[[GenesisPlan], GenesisFile]) -> list[Home]:
    """Fresh homes with a genesis in each.

    Args:
        make_genesis: prepares the task; takes about a minute for digits.

    Raises:
        UsageError: the directory is not empty.
        PdfedError: the genesis cannot be made; no home stays.
    """
    directory = plan.directory
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is not a folder", hint="--dir names a folder, new or empty")
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(
            f"{directory} is not empty", hint="`--resume` continues what is there; else choose another --dir"
        )
    homes = []
    for index, port in enumerate(free_ports(plan.nodes)):
        home, _ = create_home(
            directory / f"node{index}",
            name=f"node{index}",
            roles=roles_of(index, plan.nodes),
            listen=f"/ip4/127.0.0.1/tcp/{port}",
        )
        if plan.steps is not None:
            config = home.config()
            training = dataclasses.replace(config.training, steps=plan.steps)
            home.config_path.write_text(render_config(dataclasses.replace(config, training=training)), encoding="utf-8")
        homes.append(home)
    genesis_plan = GenesisPlan(
        chain_id=f"testnet-{plan.split_seed[:4].hex()}",
        dataset=plan.dataset,
        homes=tuple(homes),
        cards=(),
        out=directory,
        split_seed=plan.split_seed,
    )
    try:
        make_genesis(genesis_plan)
    except BaseException:
        # Homes without a genesis are of no use, and would be in the way of the next attempt.
        for home in homes:
            shutil.rmtree(home.path)
        raise
    return homes


def find_homes(directory: Path) -> list[Home]:
    """The homes of an earlier testnet, in order.

    Raises:
        UsageError: there are none, or their genesis was never finished.
    """
    homes: list[Home] = []
    while (directory / f"node{len(homes)}").is_dir():
        homes.append(Home(directory / f"node{len(homes)}").require())
    if not homes:
        raise UsageError(f"{directory} holds no testnet", hint="start one without --resume")
    for home in homes:
        if not home.genesis_path.exists():
            raise UsageError(f"{home.path} has no genesis", hint=f"it was never finished: delete {directory}")
    return homes


def check_ports(homes: list[Home]) -> None:
    """Refuse early what every node would refuse later, in its log.

    Raises:
        UsageError: another program listens on a node's port.
    """
    for home in homes:
        listen = home.config().network.listen
        where = parse_multiaddress(listen, "network.listen")
        family = {"ip4": socket.AF_INET, "ip6": socket.AF_INET6}.get(where.protocol)
        if family is None:
            continue
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((where.host, where.port))
                probe.listen()
            except OSError as error:
                raise UsageError(
                    f"{home.path.name} cannot listen on {listen}: {error.strerror}",
                    hint=f"stop the other program, or change the port in {home.config_path} and genesis.json's peers",
                ) from error
