"""PDFed's chain: proof-of-authority BFT whose block validity rule recomputes scores; embeddable, no network.

What most programs need is re-exported here; the rest is in the packages below (`pdfedchain.consensus`,
`pdfedchain.types`, ...). A name is loaded when it is first asked for: importing one base module, as workers and the
command line do, must not load the whole chain.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pdfedchain.application import Application, BlockContext, Execution, Judgement
    from pdfedchain.audit import Problem, ProblemKind, verify_chain
    from pdfedchain.chain import Chain, Subscription, single_genesis
    from pdfedchain.codec import canonical, decode, encode, from_plain, to_plain
    from pdfedchain.crypto import SigningKey, StateProof, StateTree, hash_of
    from pdfedchain.errors import (
        DecodeError,
        InputError,
        InvalidBlock,
        InvalidProof,
        InvalidTransaction,
        NotFound,
        NotYet,
        PdfedError,
        Pruned,
        SignatureError,
        StateError,
        UsageError,
        WouldDoubleSign,
    )
    from pdfedchain.ids import Address, Cid, Hash
    from pdfedchain.light import LightClient, LightError, ProvenState, verify_bundle
    from pdfedchain.proving import ProvenValue, light_bundle
    from pdfedchain.state import Ledger, LedgerView
    from pdfedchain.store.interface import Store
    from pdfedchain.store.memory import MemoryStore
    from pdfedchain.store.sqlite import SqliteStore
    from pdfedchain.types.authorities import AuthoritySet
    from pdfedchain.types.block import Block, BlockBody, FinalBlock, Header
    from pdfedchain.types.event import Event, StoredEvent
    from pdfedchain.types.genesis import ChainParameters, Genesis
    from pdfedchain.types.light import LightBundle

__all__ = [
    "Address",
    "Application",
    "AuthoritySet",
    "Block",
    "BlockBody",
    "BlockContext",
    "Chain",
    "ChainParameters",
    "Cid",
    "DecodeError",
    "Event",
    "Execution",
    "FinalBlock",
    "Genesis",
    "Hash",
    "Header",
    "InputError",
    "InvalidBlock",
    "InvalidProof",
    "InvalidTransaction",
    "Judgement",
    "Ledger",
    "LedgerView",
    "LightBundle",
    "LightClient",
    "LightError",
    "MemoryStore",
    "NotFound",
    "NotYet",
    "PdfedError",
    "Problem",
    "ProblemKind",
    "ProvenState",
    "ProvenValue",
    "Pruned",
    "SignatureError",
    "SigningKey",
    "SqliteStore",
    "StateError",
    "StateProof",
    "StateTree",
    "Store",
    "StoredEvent",
    "Subscription",
    "UsageError",
    "WouldDoubleSign",
    "canonical",
    "decode",
    "encode",
    "from_plain",
    "hash_of",
    "light_bundle",
    "single_genesis",
    "to_plain",
    "verify_bundle",
    "verify_chain",
]

_HOMES = {
    "pdfedchain.application": ["Application", "BlockContext", "Execution", "Judgement"],
    "pdfedchain.audit": ["Problem", "ProblemKind", "verify_chain"],
    "pdfedchain.chain": ["Chain", "Subscription", "single_genesis"],
    "pdfedchain.codec": ["canonical", "decode", "encode", "from_plain", "to_plain"],
    "pdfedchain.crypto": ["SigningKey", "StateProof", "StateTree", "hash_of"],
    "pdfedchain.errors": [
        "DecodeError",
        "InputError",
        "InvalidBlock",
        "InvalidProof",
        "InvalidTransaction",
        "NotFound",
        "NotYet",
        "PdfedError",
        "Pruned",
        "SignatureError",
        "StateError",
        "UsageError",
        "WouldDoubleSign",
    ],
    "pdfedchain.ids": ["Address", "Cid", "Hash"],
    "pdfedchain.light": ["LightClient", "LightError", "ProvenState", "verify_bundle"],
    "pdfedchain.proving": ["ProvenValue", "light_bundle"],
    "pdfedchain.state": ["Ledger", "LedgerView"],
    "pdfedchain.store.interface": ["Store"],
    "pdfedchain.store.memory": ["MemoryStore"],
    "pdfedchain.store.sqlite": ["SqliteStore"],
    "pdfedchain.types.authorities": ["AuthoritySet"],
    "pdfedchain.types.block": ["Block", "BlockBody", "FinalBlock", "Header"],
    "pdfedchain.types.event": ["Event", "StoredEvent"],
    "pdfedchain.types.genesis": ["ChainParameters", "Genesis"],
    "pdfedchain.types.light": ["LightBundle"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
