"""``pdfed tx``: sign a transaction with the home's key and send it through the home's running node."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from node.cli.commands import EXIT_NEGATIVE, EXIT_SUCCESS
from node.cli.home_argument import home_of
from node.cli.output import Output
from node.config import NodeRole, parse_roles
from node.home import Home, load_card
from node.private_data import data_commitment
from node.reader import ChainReader, open_reader
from node.sending import send
from pdfedchain.codec import from_plain, to_plain
from pdfedchain.errors import DecodeError, UsageError
from pdfedchain.ids import Address, Hash, parse_address
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.governance import (
    AddAuthority,
    Change,
    RemoveAuthority,
    SetChainParameters,
    SetLedgerParameters,
    UpgradeVersion,
)
from pdfedchain.types.parameters import LedgerParameters
from pdfedchain.types.transaction import (
    Admit,
    ApproveChange,
    FundTask,
    LiftQuarantine,
    Payload,
    ProposeChange,
    Register,
    Role,
    Transfer,
)

__all__ = ["add_arguments", "run"]

_WAIT_S: Final = 60.0
Maker = Callable[[argparse.Namespace, Home, ChainReader], Payload]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one sub-command for each kind of transaction."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    transfer = _kind(kinds, "transfer", "move units to another account", _transfer)
    transfer.add_argument("to", metavar="ADDRESS")
    transfer.add_argument("amount", type=int, metavar="UNITS")
    register = _kind(kinds, "register", "join as a participant, or change the registration", _register)
    register.add_argument("--roles", default="trainer", help="trainer, evaluator (comma-separated); default trainer")
    register.add_argument("--name", help="default: the node's name")
    register.add_argument("--reward-address", metavar="ADDRESS", help="who earns; default this account")
    register.add_argument("--description", default="", help="shown to others")
    _kind(kinds, "admit", "let somebody register (authorities)", _admit).add_argument("address", metavar="ADDRESS")
    fund = _kind(kinds, "fund-task", "put units into a task's pool", _fund_task)
    fund.add_argument("task", metavar="NAME")
    fund.add_argument("amount", type=int, metavar="UNITS")
    lift = _kind(kinds, "lift-quarantine", "hold a quarantine for unfounded (authorities)", _lift_quarantine)
    lift.add_argument("checkpoint", metavar="CID")
    add = _kind(kinds, "add-authority", "propose one more authority", _add_authority)
    add.add_argument("card", type=Path, metavar="CARD", help="card.json of its node")
    remove = _kind(kinds, "remove-authority", "propose one authority less", _remove_authority)
    remove.add_argument("address", metavar="ADDRESS")
    rules = _kind(kinds, "set-parameters", "propose other parameters of ledger or chain", _set_parameters)
    rules.add_argument(
        "values", nargs="+", metavar="NAME=VALUE", help="such as heartbeat_idle_ms=5000 or have.blocks=9"
    )
    upgrade = _kind(kinds, "upgrade", "propose a version from a height on", _upgrade)
    upgrade.add_argument("version", type=int, metavar="VERSION")
    upgrade.add_argument("height", type=int, metavar="HEIGHT")
    approve = _kind(kinds, "approve", "approve an open proposal (authorities)", _approve)
    approve.add_argument("proposal", metavar="HASH", help="of the transaction that proposed, or its beginning")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Send, and say where it went."""
    home = home_of(arguments)
    with open_reader(home) as reader:
        payload = arguments.make(arguments, home, reader)
        sent = send(home, reader, payload, wait_s=arguments.wait, on_wait=lambda: output.progress("waiting", 0, 0))
        output.result({"hash": sent.hash.hex(), "kind": arguments.kind, "height": sent.height})
        output.say(f"transaction {sent.hash.hex()}")
        if sent.height is not None:
            output.say(f"in block {sent.height}")
            if isinstance(payload, ProposeChange) and reader.view().proposal(sent.hash) is not None:
                output.say(f"the others approve it with: pdfed tx approve {sent.hash.hex()[:12]} --home ...")
            return EXIT_SUCCESS
        if not arguments.wait:
            return EXIT_SUCCESS
    output.note(f"not in a block after {arguments.wait:g} s; it is sent for as long as the node of {home.path} runs")
    return EXIT_NEGATIVE


def _kind(kinds: Any, name: str, help_text: str, make: Maker) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(name, help=help_text, description=help_text.capitalize() + ".")
    parser.add_argument("--home", type=Path, required=True, metavar="H", help="the home whose key signs")
    parser.add_argument(
        "--wait", type=float, default=_WAIT_S, metavar="S", help="seconds to wait for a block; default %(default)g"
    )
    # The same options that every command has, so that they may stand at the end.
    for flag in ("--json", "--debug"):
        parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.set_defaults(make=make)
    return parser


def _transfer(arguments: argparse.Namespace, home: Home, reader: ChainReader) -> Payload:
    return Transfer(_address(arguments.to), _positive(arguments.amount, "UNITS"))


def _register(arguments: argparse.Namespace, home: Home, reader: ChainReader) -> Payload:
    config, own = home.config(), home.account_key().address
    named = {NodeRole.TRAINER: Role.TRAINER, NodeRole.EVALUATOR: Role.EVALUATOR}
    roles = Role(0)
    for role in parse_roles(arguments.roles):
        if role not in named:
            raise UsageError(f"{role.value} is no role of a participant", hint="trainer, evaluator")
        roles |= named[role]
    commitment = data_commitment(home.data_dir(config), home.private_dir / "salt")
    reward = own if arguments.reward_address is None else _address(arguments.reward_address)
    return Register(arguments.name or config.node.name, int(roles), commitment, reward, arguments.description)


def _admit(arguments: argparse.Namespace, home: Home, reader: ChainReader) -> Payload:
    return Admit(_address(arguments.address))


def _fund_task(arguments: argparse.Namespace, home: Home, reader: ChainReader) -> Payload:
    task = reader.view().task_named(arguments.task)
    if task is None:
        names = ", ".join(task.name for task in reader.tasks().values())
        raise UsageError(f"there is no task {arguments.task!r}", hint=f"tasks: {names}")
    return FundTask(task, _positive(arguments.amount, "UNITS"))


def _lift_quarantine(arguments: argparse.Namespace, home: Home, reader: ChainReader) -> Payload:
    return LiftQuarantine(reader.checkpoint_named(arguments.checkpoint).weights)


def _add_authority(arguments: argparse.Namespace, home: Home, reader: ChainReader) -> Payload:
    card = load_card(arguments.card)
    if card.onion is None:
        raise UsageError(
            f"{arguments.card} is the card of no authority: it has no onion",
            hint="a home for an authority is made with `pdfed init --roles authority,...`",
        )
    return ProposeChange(AddAuthority(card.address, card.onion))


def _remove_authority(arguments: argparse.Namespace, home: Home, reader: ChainReader) -> Payload:
    return ProposeChange(RemoveAuthority(_address(arguments.address)))


def _set_parameters(arguments: argparse.Namespace, home: Home, reader: ChainReader) -> Payload:
    view = reader.view()
    ledger, chain = to_plain(view.parameters), to_plain(view.chain_parameters)
    changed = set()
    for text in arguments.values:
        name, separator, value = text.partition("=")
        where = ledger if name.split(".")[0] in ledger else chain
        if not separator or name.split(".")[0] not in where:
            known = ", ".join([*ledger, *chain])
            raise UsageError(f"{text!r} is no NAME=VALUE of a parameter", hint=f"parameters: {known}")
        _put(where, name, value)
        changed.add(where is ledger)
    if len(changed) > 1:
        raise UsageError("these are parameters of ledger and chain", hint="propose them one after the other")
    try:
        change: Change = SetChainParameters(from_plain(ChainParameters, chain))
        if changed == {True}:
            change = SetLedgerParameters(from_plain(LedgerParameters, ledger))
    except DecodeError as error:
        raise UsageError(f"not a parameter's value: {error}") from error
    return ProposeChange(change)


def _put(plain: dict[str, Any], name: str, value: str) -> None:
    *path, last = name.split(".")
    for part in path:
        inner = plain.get(part)
        if not isinstance(inner, dict):
            raise UsageError(f"{name} is no parameter")
        plain = inner
    if last not in plain or isinstance(plain[last], dict):
        hint = f"write {name}.{next(iter(plain[last]))}=..." if isinstance(plain.get(last), dict) else ""
        raise UsageError(f"{name} is no single value", hint=hint)
    try:
        plain[last] = json.loads(value)
    except ValueError as error:
        raise UsageError(f"{name}={value} is no number, true or false") from error


def _upgrade(arguments: argparse.Namespace, home: Home, reader: ChainReader) -> Payload:
    return ProposeChange(UpgradeVersion(_positive(arguments.version, "VERSION"), _positive(arguments.height, "HEIGHT")))


def _approve(arguments: argparse.Namespace, home: Home, reader: ChainReader) -> Payload:
    opened = [one.proposal for one in reader.view().governance.proposals]
    found = [one for one in opened if one.hex().startswith(arguments.proposal.lower())]
    if len(found) != 1:
        listed = ", ".join(one.hex()[:12] for one in opened) or "none is open"
        raise UsageError(f"{arguments.proposal} names {len(found)} open proposals", hint=f"open: {listed}")
    return ApproveChange(Hash(found[0]))


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except DecodeError as error:
        raise UsageError(str(error), hint="`pdfed keys` and `pdfed participants` show addresses") from error


def _positive(value: int, what: str) -> int:
    if not 0 < value < 2**63:
        raise UsageError(f"{what} must be a positive number, found {value}")
    return value
