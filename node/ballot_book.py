"""This node's own reports and their salts, durable before a commitment leaves.

A commitment on chain whose report or salt is lost cannot be opened and costs a deposit; and a second report of the
same checkpoint with another salt would be a second commitment. So a report is written here first, once, and
everything sent is derived from the row.
"""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from pdfedchain.codec import canonical, decode, encode
from pdfedchain.errors import StateError
from pdfedchain.ids import Address, Cid, Hash
from pdfedchain.store.durable import sync_fully
from pdfedchain.types.ballot import BallotKind, Outcome, Salt, commitment_of
from pdfedchain.types.score import ScoreReport, Unscorable

__all__ = ["BallotBook", "OwnBallot"]

_SALT_SIZE_BYTES = 32
_ROW_SIZE_BYTES_MAX = 4_096


@canonical("pdfed/own-ballot/v1")
@dataclass(frozen=True, slots=True)
class OwnBallot:
    """One report of this node, with the secret that seals it."""

    checkpoint: Cid
    kind: BallotKind
    report: ScoreReport | Unscorable
    salt: Salt

    def commitment(self, chain_id: str, voter: Address) -> Hash:
        """The commitment that goes on chain."""
        return commitment_of(chain_id, self.checkpoint, voter, self.kind, self.report, self.salt)


class BallotBook:
    """Own ballots by (checkpoint, kind), in a small SQLite file of their own."""

    def __init__(self, path: Path | str) -> None:
        """
        Raises:
            StateError: the file is not a ballot book.
        """
        self._connection = sqlite3.connect(path, isolation_level=None)
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            sync_fully(self._connection)
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS ballots"
                " (checkpoint BLOB, kind TEXT, row BLOB NOT NULL, PRIMARY KEY (checkpoint, kind))"
            )
        except sqlite3.DatabaseError as error:
            raise StateError(f"{path} is not a ballot book: {error}") from error

    def record(self, checkpoint: Cid, kind: BallotKind, report: Outcome) -> OwnBallot:
        """Write a report with a fresh salt; durable on return. The first report of a checkpoint stands.

        Raises:
            StateError: it could not be written.
        """
        ballot = OwnBallot(checkpoint, kind, report, secrets.token_bytes(_SALT_SIZE_BYTES))
        try:
            self._connection.execute(
                "INSERT INTO ballots VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (checkpoint, kind.value, encode(ballot))
            )
        except sqlite3.Error as error:
            raise StateError(f"the ballot book cannot be written: {error}") from error
        standing = self.get(checkpoint, kind)
        assert standing is not None
        return standing

    def get(self, checkpoint: Cid, kind: BallotKind) -> OwnBallot | None:
        """The recorded ballot, or ``None``."""
        row = self._connection.execute(
            "SELECT row FROM ballots WHERE checkpoint = ? AND kind = ?", (checkpoint, kind.value)
        ).fetchone()
        return None if row is None else decode(OwnBallot, row[0], size_bytes_max=_ROW_SIZE_BYTES_MAX)

    def own_result(self, checkpoint: Cid) -> Outcome | None:
        """This node's own score of a checkpoint, for the local verdict of `Ledger.judge`."""
        ballot = self.get(checkpoint, BallotKind.SCORE)
        return None if ballot is None else ballot.report

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
