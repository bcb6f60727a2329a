"""Own reports are durable, stand once written, and seal themselves."""

from pathlib import Path

import pytest

from node.ballot_book import BallotBook
from pdfedchain.errors import StateError
from pdfedchain.ids import Address, Cid, Hash
from pdfedchain.types.ballot import BallotKind, commitment_of
from pdfedchain.types.score import ScoreReport, Unscorable, UnscorableReason

CHECKPOINT = Cid(b"\x01\x70\x12\x20" + b"c" * 32)
VOTER = Address(b"v" * 32)
REPORT = ScoreReport(100, 9, 4, 500_000, 900_000, 1_234_567, Hash(b"h" * 32))


def test_a_report_survives_reopening_with_its_salt(tmp_path: Path) -> None:
    book = BallotBook(tmp_path / "ballots.db")
    recorded = book.record(CHECKPOINT, BallotKind.SCORE, REPORT)
    book.close()
    assert BallotBook(tmp_path / "ballots.db").get(CHECKPOINT, BallotKind.SCORE) == recorded


def test_the_first_report_of_a_checkpoint_stands() -> None:
    book = BallotBook(":memory:")
    first = book.record(CHECKPOINT, BallotKind.SCORE, REPORT)
    second = book.record(CHECKPOINT, BallotKind.SCORE, Unscorable(UnscorableReason.NON_FINITE))
    assert second == first


def test_kinds_have_separate_rows_and_own_result_is_the_score() -> None:
    book = BallotBook(":memory:")
    assert book.own_result(CHECKPOINT) is None
    book.record(CHECKPOINT, BallotKind.PRIVATE, Unscorable(UnscorableReason.NON_FINITE))
    assert book.own_result(CHECKPOINT) is None
    book.record(CHECKPOINT, BallotKind.SCORE, REPORT)
    assert book.own_result(CHECKPOINT) == REPORT


def test_the_commitment_is_the_ledgers_and_salts_differ() -> None:
    one = BallotBook(":memory:").record(CHECKPOINT, BallotKind.SCORE, REPORT)
    two = BallotBook(":memory:").record(CHECKPOINT, BallotKind.SCORE, REPORT)
    assert one.salt != two.salt
    assert one.commitment("c", VOTER) == commitment_of("c", CHECKPOINT, VOTER, BallotKind.SCORE, REPORT, one.salt)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ballots.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StateError, match="not a ballot book"):
        BallotBook(path)
