"""The pen of one height: what is logged, what is signed, and in which order.

::

    input -> log (append) -> core -> wants to sign -> log (sync) -> signer record (sync) -> message leaves

so nothing leaves that a restart could contradict. An input that leads to no signature is not synced by itself:
losing it is like never having received it. One sync serves all inputs since the last.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pdfedchain.consensus.blocks import Position
from pdfedchain.consensus.effects import CastVote
from pdfedchain.consensus.log import Entry, RecoveredEntry, pack_entry, unpack_entry
from pdfedchain.consensus.ports import Log, Signer
from pdfedchain.crypto import SigningKey
from pdfedchain.ids import Hash
from pdfedchain.limits import SIGNATURE_SIZE_BYTES
from pdfedchain.types.vote import Proposal, Vote, VoteKind

__all__ = ["Pen"]

_PROPOSAL_STEP: Final = 0
_NO_SIGNATURE: Final = bytes(SIGNATURE_SIZE_BYTES)


class Pen:
    """Writes for one height. ``signer`` and ``key`` come both or neither."""

    def __init__(self, log: Log, signer: Signer | None, key: SigningKey | None, position: Position) -> None:
        self._log = log
        self._signer = signer
        self._key = key
        self._position = position
        # What an earlier process wrote may not have reached the disk, although this one can read it.
        self._unsynced = log.height == position.height

    def written(self) -> list[Entry]:
        """What earlier processes logged at this height."""
        if self._log.height != self._position.height:
            return []
        return [unpack_entry(data) for data in self._log.entries()]

    def append(self, entry: Entry) -> None:
        """Log an input."""
        if self._log.height != self._position.height:
            self._log.begin(self._position.height)
        self._log.append(pack_entry(entry))
        self._unsynced = True

    def vote(self, cast: CastVote) -> Vote:
        """Sign a vote.

        Raises:
            WouldDoubleSign: the record holds another one here, or something later.
        """
        unsigned = self._unsigned_vote(cast)
        return replace(unsigned, signature=self._sign(cast.round, int(cast.kind), cast.block, unsigned.signing_bytes()))

    def proposal(self, round_: int, block: Hash, valid_round: int) -> Proposal:
        """Sign a proposal.

        Raises:
            WouldDoubleSign: the record holds another one here, or something later.
        """
        genesis, position = self._position.genesis, self._position
        assert self._key is not None
        unsigned = Proposal(
            chain_id=genesis.chain_id,
            set_id=position.authorities.set_id,
            height=position.height,
            round=round_,
            valid_round=valid_round,
            block=block,
            proposer=self._key.address,
            signature=_NO_SIGNATURE,
        )
        return replace(unsigned, signature=self._sign(round_, _PROPOSAL_STEP, block, unsigned.signing_bytes()))

    def on_record(self) -> RecoveredEntry | None:
        """The last thing signed at this height, whatever the log says; ``None`` for nothing."""
        signed = () if self._signer is None else self._signer.signed(self._position.height)
        if not signed:
            return None
        last_round, last_step, _, _ = signed[-1]
        locks = [(round_, block) for round_, step, block, _ in signed if step == VoteKind.PRECOMMIT and block]
        locked_round, locked_block = locks[-1] if locks else (None, None)
        votes = tuple(
            replace(self._unsigned_vote(CastVote(round_, VoteKind(step), block)), signature=signature)
            for round_, step, block, signature in signed
            if round_ == last_round and step != _PROPOSAL_STEP
        )
        return RecoveredEntry(last_round, last_step, locked_round, locked_block, votes)

    def _unsigned_vote(self, cast: CastVote) -> Vote:
        position = self._position
        assert self._key is not None
        return Vote(
            chain_id=position.genesis.chain_id,
            set_id=position.authorities.set_id,
            height=position.height,
            round=cast.round,
            kind=cast.kind,
            block=cast.block,
            voter=self._key.address,
            signature=_NO_SIGNATURE,
        )

    def _sign(self, round_: int, step: int, block: Hash | None, message: bytes) -> bytes:
        assert self._signer is not None
        assert self._key is not None
        if self._unsynced:
            self._log.sync()
            self._unsynced = False
        return self._signer.sign(self._position.height, round_, step, block=block, message=message, key=self._key)
