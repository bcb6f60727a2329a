"""Transactions of the federated-learning ledger.

A transaction is replay-protected by its sender's account nonce. Those that nodes send by themselves (`WithoutNonce`)
are so by what they say, once per voter, checkpoint and phase for example, and carry nonce 0: a lost one never blocks
the ones after it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final

from pdfedchain.codec import canonical, encode, tag_of
from pdfedchain.crypto import SigningKey, hash_of, tagged_hash, verify
from pdfedchain.crypto.hash import hash_prefix
from pdfedchain.ids import Address, Cid, Hash, Name, Range, Size, UInt
from pdfedchain.limits import PARENTS_MAX, SIGNATURE_SIZE_BYTES, TEXT_LENGTH_MAX
from pdfedchain.types.ballot import BallotKind, Salt
from pdfedchain.types.governance import (
    AddAuthority,
    OnionAnchor,
    RemoveAuthority,
    SetChainParameters,
    SetLedgerParameters,
    UpgradeVersion,
)
from pdfedchain.types.score import ScoreReport, Unscorable
from pdfedchain.types.task import TaskSpec
from pdfedchain.types.vote import Proposal, Vote

__all__ = [
    "Admit",
    "ApproveChange",
    "CommitBallot",
    "CreateTask",
    "FundTask",
    "Have",
    "LiftQuarantine",
    "Payload",
    "ProposeChange",
    "Register",
    "RenewOnion",
    "RevealBallot",
    "Role",
    "SignedTransaction",
    "SubmitCheckpoint",
    "SubmitEvidence",
    "TrainingClaim",
    "Transaction",
    "Transfer",
    "WithoutNonce",
    "transaction_hash",
    "transaction_hashes",
]


class Role(enum.IntFlag):
    """What a participant does; a sum of values on chain."""

    TRAINER = 1
    EVALUATOR = 2


@canonical("pdfed/tx/transfer/v1")
@dataclass(frozen=True, slots=True)
class Transfer:
    """Move ``amount`` from the sender to ``to``."""

    to: Address
    amount: Annotated[int, Range(1, 2**63 - 1)]


@canonical("pdfed/tx/register/v1")
@dataclass(frozen=True, slots=True)
class Register:
    """Join as a participant, or change one's own registration.

    Attributes:
        roles: sum of `Role` values, at least one.
        data_commitment: binds the private images without showing them.
        reward_address: account that earns what this participant's work earns.
    """

    name: Name
    roles: Annotated[int, Range(1, 3)]
    data_commitment: Hash
    reward_address: Address
    description: Annotated[str, Size(TEXT_LENGTH_MAX)]


@canonical("pdfed/tx/create-task/v1")
@dataclass(frozen=True, slots=True)
class CreateTask:
    """Deploy a task; authorities only. ``pool`` units of the sender's are what it pays rewards from."""

    task: TaskSpec
    pool: UInt = 0


@canonical("pdfed/tx/fund-task/v1")
@dataclass(frozen=True, slots=True)
class FundTask:
    """Put units into the pool that a task pays rewards from; anybody may, nobody gets them back."""

    task: Hash
    amount: Annotated[int, Range(1, 2**63 - 1)]


@canonical("pdfed/tx/admit/v1")
@dataclass(frozen=True, slots=True)
class Admit:
    """An authority's word that somebody may register."""

    participant: Address


@canonical("pdfed/tx/lift-quarantine/v1")
@dataclass(frozen=True, slots=True)
class LiftQuarantine:
    """An authority holds a quarantine for unfounded; a quorum of them ends it."""

    checkpoint: Cid


@canonical("pdfed/training-claim/v1")
@dataclass(frozen=True, slots=True)
class TrainingClaim:
    """What an author says about the training. Claims: nobody can check them, anybody can hold them against it."""

    steps: UInt
    batch_size: UInt
    learning_rate_nano: UInt
    images: UInt
    data_commitment: Hash


@canonical("pdfed/tx/submit-checkpoint/v1")
@dataclass(frozen=True, slots=True)
class SubmitCheckpoint:
    """Offer a checkpoint for scoring.

    Attributes:
        task: hash of the `TaskSpec`.
        weights: identifier of the checkpoint folder.
        weights_digest: digest of the tensors; a digest seen before is refused, whatever the folder's identifier.
        parents: checkpoints it was trained from, accepted ones only; none for training from scratch.
    """

    task: Hash
    weights: Cid
    weights_digest: Hash
    size_bytes: UInt
    parents: Annotated[tuple[Cid, ...], Size(PARENTS_MAX)]
    training: TrainingClaim


@canonical("pdfed/tx/have/v1")
@dataclass(frozen=True, slots=True)
class Have:
    """An authority has fetched the weights, verified them against the identifier, and serves them.

    Attributes:
        submitted_height: of the submission meant; weights may be offered again, and this says nothing about that.
    """

    checkpoint: Cid
    submitted_height: UInt


@canonical("pdfed/tx/commit-ballot/v1")
@dataclass(frozen=True, slots=True)
class CommitBallot:
    """Seal a report (`pdfedchain.types.ballot`).

    Attributes:
        submitted_height: of the submission meant, as in `Have`.
    """

    checkpoint: Cid
    submitted_height: UInt
    kind: BallotKind
    commitment: Hash


@canonical("pdfed/tx/reveal-ballot/v1")
@dataclass(frozen=True, slots=True)
class RevealBallot:
    """Open a sealed report."""

    checkpoint: Cid
    kind: BallotKind
    report: ScoreReport | Unscorable
    salt: Salt


@canonical("pdfed/tx/propose-change/v1")
@dataclass(frozen=True, slots=True)
class ProposeChange:
    """Propose a change of the chain's rules; authorities only. It is the proposer's approval, too."""

    change: AddAuthority | RemoveAuthority | SetLedgerParameters | SetChainParameters | UpgradeVersion


@canonical("pdfed/tx/approve-change/v1")
@dataclass(frozen=True, slots=True)
class ApproveChange:
    """Approve an open proposal; authorities only. An approval cannot be taken back, a proposal can expire.

    Attributes:
        proposal: hash of the transaction that proposed.
    """

    proposal: Hash


@canonical("pdfed/tx/submit-evidence/v1")
@dataclass(frozen=True, slots=True)
class SubmitEvidence:
    """Two different messages that one authority signed for one height, round and step. Anybody may submit it."""

    first: Vote | Proposal
    second: Vote | Proposal


@canonical("pdfed/tx/renew-onion/v1")
@dataclass(frozen=True, slots=True)
class RenewOnion:
    """An authority's next contributions to the beacon, once the present ones are used up.

    Attributes:
        number: of the chain of hashes that this one follows; it can be followed once.
    """

    number: UInt
    onion: OnionAnchor


Payload = (
    Transfer
    | Register
    | Admit
    | CreateTask
    | FundTask
    | SubmitCheckpoint
    | Have
    | CommitBallot
    | RevealBallot
    | LiftQuarantine
    | ProposeChange
    | ApproveChange
    | SubmitEvidence
    | RenewOnion
)

#: Payloads of transactions that carry nonce 0.
WithoutNonce = Have | CommitBallot | RevealBallot | ApproveChange | SubmitEvidence | RenewOnion


@canonical("pdfed/transaction/v1")
@dataclass(frozen=True, slots=True)
class Transaction:
    """What a sender signs."""

    chain_id: Name
    sender: Address
    nonce: UInt
    payload: Payload

    def sign(self, key: SigningKey) -> SignedTransaction:
        """Sign with the sender's key."""
        assert key.address == self.sender, "a transaction is signed with its sender's key"
        return SignedTransaction(self, key.sign(encode(self)))


@canonical("pdfed/signed-transaction/v1")
@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction and its sender's signature over the encoded `Transaction`."""

    transaction: Transaction
    signature: Annotated[bytes, Size.exactly(SIGNATURE_SIZE_BYTES)]

    @property
    def hash(self) -> Hash:
        return hash_of(self)

    def verify(self) -> None:
        """Check the signature.

        Raises:
            SignatureError: it does not verify.
        """
        verify(self.transaction.sender, encode(self.transaction), self.signature)

    def verify_encoded(self, data: bytes) -> None:
        """`verify` for those who have decoded this from ``data``: what is signed lies in it and is not encoded again.

        Raises:
            SignatureError: it does not verify.
        """
        verify(self.transaction.sender, data[_SIGNED_FROM:_SIGNED_TO], self.signature)


#: Where an encoded `SignedTransaction` has its transaction: after the array's and the tag's first byte and the tag,
#: before the signature's two and the signature.
_SIGNED_FROM: Final = 2 + len(tag_of(SignedTransaction))
_SIGNED_TO: Final = -(2 + SIGNATURE_SIZE_BYTES)


def transaction_hash(transaction: bytes) -> Hash:
    """Hash of an encoded `SignedTransaction`, equal to its `SignedTransaction.hash`; stores index it.

    It needs no decoding, so other applications' transactions have one too.
    """
    return tagged_hash(tag_of(SignedTransaction), transaction)


def transaction_hashes(transactions: Iterable[bytes]) -> list[Hash]:
    """`transaction_hash` of each."""
    prefix = hash_prefix(tag_of(SignedTransaction))
    return [Hash(sha256(prefix + transaction).digest()) for transaction in transactions]
