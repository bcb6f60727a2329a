"""Every error this project raises on purpose, in one tree.

::

    PdfedError
    ├── InputError              somebody outside handed us something wrong; nothing of ours changed
    │   ├── DecodeError         bytes that are not the canonical encoding of what was expected
    │   ├── SignatureError      a signature that does not verify, or a key that must not be used
    │   ├── InvalidTransaction  a transaction the ledger refuses in this state
    │   │   └── NotYet          the same transaction may succeed in a later state
    │   ├── InvalidBlock        a block that fails the structural verdict
    │   ├── InvalidProof        a Merkle proof or certificate that does not prove what it claims
    │   │   └── LightError      what a light client refuses, one class per reason (`pdfedchain.light.errors`)
    │   └── UsageError          a person or a program used a command, a file or an option wrongly
    ├── StateError              our own durable state cannot be used as it is (damaged, foreign, too new)
    │   ├── UnsupportedVersion  the chain goes on under a version that this program does not know
    │   └── WouldDoubleSign     the signer record holds a different message for this height, round and step
    └── NotFound                asked for something that is not stored here
        └── Pruned              it was there, or would be, but this store keeps only newer ones

A peer's fault (`InputError`) and our own fault (an ``AssertionError``) are never the same class. `NotFound`
does *not* mean that a thing does not exist elsewhere.
"""

from __future__ import annotations

__all__ = [
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
    "UnsupportedVersion",
    "UsageError",
    "WouldDoubleSign",
]


class PdfedError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        hint: one sentence that says what to do about it; empty where the message says so already.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(PdfedError):
    """Somebody outside this process handed us something wrong."""


class DecodeError(InputError):
    """Bytes are not the one canonical encoding of the expected type."""


class SignatureError(InputError):
    """A signature does not verify, or a public key is one that must not be used."""


class InvalidTransaction(InputError):
    """The ledger refuses a transaction in the present state; the state has not changed.

    Attributes:
        rule: short machine-readable name of the rule that refused it, for example ``"nonce"``.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule


class NotYet(InvalidTransaction):
    """Refused in this state, but the same transaction may succeed in a later one: a pool may keep it for a while."""


class InvalidBlock(InputError):
    """A block fails the structural verdict: no honest authority may ever vote for it."""


class InvalidProof(InputError):
    """A proof or certificate does not prove what it claims."""


class UsageError(InputError):
    """A person or program used a command, a file or an option wrongly (exit status 2)."""


class StateError(PdfedError):
    """Durable state of this node cannot be used as it is."""


class UnsupportedVersion(StateError):
    """The next block is of a version that this program cannot execute; what is stored is good."""


class WouldDoubleSign(StateError):
    """Signing would contradict a message this key has already signed; the signer refuses."""


class NotFound(PdfedError):
    """Something that was asked for is not stored here."""


class Pruned(NotFound):
    """This store keeps only what is newer: bodies were pruned, or it began from a snapshot."""
