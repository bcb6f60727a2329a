"""``pdfed genesis``: prepare a task and make the genesis of a chain (`node.new_genesis`)."""

from __future__ import annotations

import argparse
import os
import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from node.cli.commands import EXIT_SUCCESS
from node.cli.money_arguments import add_money_arguments, economy, money_plan
from node.cli.output import Output
from node.errors import JobRefused
from node.genesis_file import GenesisFile
from node.home import Home, load_card
from node.new_genesis import LOCAL_CHAIN, LOCAL_PARAMETERS, GenesisPlan, create_genesis, small_set_warning
from node.workers import Worker, require_diffusion
from pdfedchain.codec import encode
from pdfedchain.errors import DecodeError, UsageError
from pdfedchain.ids import Hash
from pdfedchain.limits import NAME_LENGTH_MAX
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.ledger import Deadline, LedgerParameters
from pdfedchain.types.score import ArithmeticProfile

__all__ = ["add_arguments", "make_genesis", "run"]

_DEADLINES = ("have", "scoring", "private_commit", "private_reveal", "late_reveal", "proposal")
_PACES = ("block_interval_min_ms", "heartbeat_idle_ms", "heartbeat_open_ms", "clock_bound_ms", "timeout_propose_ms")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--chain-id", required=True, metavar="C", help="name of the new chain")
    parser.add_argument(
        "--dataset", required=True, help="name of a built-in data set (digits), or a folder of class folders"
    )
    parser.add_argument(
        "--home", type=Path, action="append", default=[], metavar="H", help="a local home; repeat, in order of turns"
    )
    parser.add_argument(
        "--card", type=Path, action="append", default=[], metavar="FILE", help="card.json of a node elsewhere; repeat"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where genesis.json goes")
    parser.add_argument("--seed", metavar="HEX", help="64 hexadecimal digits that fix the split; random if not given")
    parser.add_argument("--device", default="cpu", help="torch device of the preparation; default cpu")
    parser.add_argument(
        "--arithmetic",
        choices=[profile.value for profile in ArithmeticProfile],
        default=ArithmeticProfile.F64.value,
        help="of scores: float64, in which machines agree to the last count, or float32 for models too large for that, "
        "with tolerances; default %(default)s",
    )
    parser.add_argument("--open-registration", action="store_true", help="anybody may register as a participant")
    add_money_arguments(parser)
    for name in _DEADLINES:
        default: Deadline = getattr(LOCAL_PARAMETERS, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar="BLOCKS/SECONDS",
            default=f"{default.blocks}/{default.time_ms // 1_000}",
            help="deadline; default %(default)s",
        )
    for name in _PACES:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int,
            metavar="MS",
            default=getattr(LOCAL_CHAIN, name),
            help="default %(default)s",
        )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Check everything that can be checked without torch, then prepare and write."""
    name = arguments.chain_id
    if not name.isprintable() or not 1 <= len(name.encode()) <= NAME_LENGTH_MAX:
        raise UsageError(f"--chain-id must be 1 to {NAME_LENGTH_MAX} bytes of printable text, found {name[:80]!r}")
    plan = GenesisPlan(
        chain_id=name,
        dataset=arguments.dataset,
        homes=tuple(Home(path) for path in arguments.home),
        cards=tuple(load_card(path) for path in arguments.card),
        out=arguments.out.absolute(),
        split_seed=_seed(arguments.seed),
        parameters=_ledger_parameters(arguments),
        chain=_chain_parameters(arguments),
        device=arguments.device,
        money=money_plan(arguments),
        arithmetic=ArithmeticProfile(arguments.arithmetic),
    )
    file = make_genesis(plan, output)
    reference = plan.homes[0].weights_dir if plan.homes else plan.out / "weights"
    output.say(f"chain {plan.chain_id}, {len(file.genesis.authorities)} authorities")
    output.say(f"  genesis    {plan.out / 'genesis.json'}")
    output.say(f"  hash       {file.genesis.hash.hex()}")
    output.say(f"  reference  set and scorer are in {reference}")
    if plan.cards:
        output.say(f"  send genesis.json to the nodes elsewhere, and to each its own folder of {plan.out / 'shards'}")
    output.result(
        {
            "chain_id": plan.chain_id,
            "hash": file.genesis.hash.hex(),
            "genesis": str(plan.out / "genesis.json"),
            "authorities": len(file.genesis.authorities),
            "weights": str(reference),
        }
    )
    return EXIT_SUCCESS


def make_genesis(plan: GenesisPlan, output: Output) -> GenesisFile:
    """`create_genesis` with a worker of its own, progress shown; `pdfed testnet` uses it too.

    Raises:
        PdfedError: see `create_genesis`.
    """
    require_diffusion("making a genesis")
    cores = str(os.cpu_count() or 1)
    # Nothing else of ours runs meanwhile, so the preparation may have the whole machine.
    environment = {"PDFED_THREADS": cores, "OMP_NUM_THREADS": cores}

    async def prepare() -> GenesisFile:
        async with Worker("prepare", plan.out, environment=environment) as worker:
            return await create_genesis(
                plan, worker, lambda progress: output.progress(progress.stage, progress.done, progress.total)
            )

    try:
        file = trio.run(prepare)
    except JobRefused:
        _remove_log(plan)
        raise
    _remove_log(plan)
    warning = small_set_warning(len(file.genesis.authorities))
    if warning is not None:
        output.note(f"warning: {warning}")
    return file


def _remove_log(plan: GenesisPlan) -> None:
    """The worker's log matters only where the worker broke; its sentence says all where it refused."""
    (plan.out / "worker-prepare.log").unlink(missing_ok=True)
    if plan.out.is_dir() and not any(plan.out.iterdir()):
        plan.out.rmdir()


def _seed(text: str | None) -> Hash:
    if text is None:
        return Hash(secrets.token_bytes(32))
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise UsageError("--seed must be 64 lower-case hexadecimal digits")
    return Hash(bytes.fromhex(text))


def _ledger_parameters(arguments: argparse.Namespace) -> LedgerParameters:
    given: dict[str, Any] = {
        name: _deadline(getattr(arguments, name), f"--{name.replace('_', '-')}") for name in _DEADLINES
    }
    return replace(
        LOCAL_PARAMETERS,
        open_registration=arguments.open_registration,
        open_registrations_max=arguments.open_registrations_max,
        quarantine_voters_min=arguments.quarantine_voters_min,
        economy=economy(arguments),
        **given,
    )


def _deadline(text: str, option: str) -> Deadline:
    match = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", text, re.ASCII)
    if match is None:
        raise UsageError(f"{option} must be BLOCKS/SECONDS such as 5/30, found {text!r}")
    return Deadline(int(match[1]), int(match[2]) * 1_000)


def _chain_parameters(arguments: argparse.Namespace) -> ChainParameters:
    parameters = ChainParameters(**{name: getattr(arguments, name) for name in _PACES})
    try:
        encode(parameters)
    except DecodeError as error:
        raise UsageError(f"a duration is out of bounds: {error}") from error
    return parameters
