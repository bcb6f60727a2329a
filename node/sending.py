"""Signing a transaction with a home's key and handing it to the home's node (`node.outbox`).

What can be known beforehand is checked here, against the newest state on disk: a transaction that could never succeed
is refused with the chain's own reason before anything is written. The account's nonce is shared with the running node,
which registers and submits by itself, so a transaction may find its number taken; it is then signed anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node.home import Home
from node.outbox import Outbox
from node.reader import ChainReader
from pdfedchain.codec import encode
from pdfedchain.consensus.blocks import position_of
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InputError, NotYet, UsageError
from pdfedchain.ids import Hash
from pdfedchain.state import Ledger, LedgerView
from pdfedchain.types.transaction import Payload, Transaction, WithoutNonce

__all__ = ["Sent", "hand_over", "send"]

_LOOK_AGAIN_S: Final = 0.2
_ATTEMPTS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that was handed over.

    Attributes:
        height: of the final block that has it; ``None`` where that was not awaited, or did not happen in time.
    """

    hash: Hash
    height: int | None


def send(
    home: Home, reader: ChainReader, payload: Payload, *, wait_s: float, on_wait: Callable[[], None] = lambda: None
) -> Sent:
    """Hand a transaction over and wait until it is in a final block.

    Args:
        wait_s: how long at most; 0 to hand it over only.
        on_wait: called now and then while waiting.

    Raises:
        UsageError: the chain refuses it.
        OSError: the disk refuses.
    """
    outbox, deadline_s = Outbox(home.outbox_dir), time.monotonic() + wait_s
    key = home.account_key()
    attempts = 1
    name = hand_over(outbox, reader, key, payload)
    while time.monotonic() < deadline_s:
        height = reader.store.transaction_height(name)
        if height is not None:
            return Sent(name, height)
        refusal = outbox.take_refusal(name)
        if refusal is not None:
            if not refusal.startswith("nonce:") or attempts == _ATTEMPTS_MAX:
                raise UsageError(f"the chain refuses it: {refusal}")
            attempts += 1
            name = hand_over(outbox, reader, key, payload)
        on_wait()
        time.sleep(_LOOK_AGAIN_S)
    return Sent(name, reader.store.transaction_height(name))


def hand_over(outbox: Outbox, reader: ChainReader, key: SigningKey, payload: Payload) -> Hash:
    """Sign, check, and put it into the outbox.

    Returns:
        The transaction's hash.

    Raises:
        UsageError: the chain refuses it.
    """
    ledger = Ledger()
    position = position_of(ledger, reader.genesis, reader.store)
    nonce = 0
    if not isinstance(payload, WithoutNonce):
        account = LedgerView(position.state).account(key.address)
        nonce = max([account.nonce, *(waiting + 1 for waiting in outbox.nonces(key.address))])
    transaction = encode(Transaction(reader.genesis.chain_id, key.address, nonce, payload).sign(key))
    time_ms = max(time.time_ns() // 1_000_000, position.time_ms_min)
    try:
        context = position.context(round_=0, time_ms=time_ms, proposer=key.address)
        ledger.check(position.state, context, transaction)
    except NotYet:
        pass
    except InputError as error:
        raise UsageError(f"the chain refuses it: {error}") from error
    return outbox.put(transaction)
