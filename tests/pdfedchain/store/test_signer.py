"""The signer record: the same again, never another; across restarts, files and owners."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfedchain.crypto import SigningKey
from pdfedchain.errors import StateError, WouldDoubleSign
from pdfedchain.ids import Hash
from pdfedchain.store.signer import MemorySigner, SqliteSigner

KEY = SigningKey(bytes(31) + b"\x01")
BLOCK = Hash(b"b" * 32)
Signer = SqliteSigner | MemorySigner
Reopen = Callable[[], Signer]


def open_file(path: Path) -> SqliteSigner:
    return SqliteSigner(path, chain_id="test", address=KEY.address)


@pytest.fixture(params=["file", "memory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    memory = MemorySigner()
    return (lambda: open_file(tmp_path / "signer.db")) if request.param == "file" else (lambda: memory)


def sign(signer: Signer, height: int, round_: int, step: int, message: bytes = b"m") -> bytes:
    return signer.sign(height, round_, step, block=BLOCK, message=message, key=KEY)


def test_it_signs(reopen: Reopen) -> None:
    signer = reopen()
    assert sign(signer, 1, 0, 1) == KEY.sign(b"m")
    assert signer.signed(1) == ((0, 1, BLOCK, KEY.sign(b"m")),)
    assert signer.signed(2) == ()
    signer.close()


def test_the_same_message_gives_the_same_signature_whenever_asked(reopen: Reopen) -> None:
    signer = reopen()
    first = sign(signer, 1, 0, 1)
    sign(signer, 1, 3, 2, b"later")
    assert sign(signer, 1, 0, 1) == first
    signer.close()
    again = reopen()
    assert sign(again, 1, 0, 1) == first
    again.close()


@pytest.mark.parametrize("slot", [(5, 2, 1), (5, 2, 0), (5, 1, 2), (4, 9, 2), (1, 0, 0)])
def test_another_message_at_or_below_the_last_slot_is_refused_also_after_a_restart(
    slot: tuple[int, int, int], reopen: Reopen
) -> None:
    signer = reopen()
    sign(signer, 5, 2, 1)
    for _ in range(2):
        with pytest.raises(WouldDoubleSign, match="the record stands at 5, 2, 1"):
            sign(signer, *slot, b"other")
        signer.close()
        signer = reopen()
    assert signer.signed(5) == ((2, 1, BLOCK, KEY.sign(b"m")),)
    signer.close()


@pytest.mark.parametrize("slot", [(5, 2, 2), (5, 3, 0), (6, 0, 0)])
def test_later_slots_are_free(slot: tuple[int, int, int], reopen: Reopen) -> None:
    signer = reopen()
    sign(signer, 5, 2, 1)
    assert sign(signer, *slot, b"other") == KEY.sign(b"other")
    signer.close()


def test_slots_of_earlier_heights_go_but_stay_forbidden(reopen: Reopen) -> None:
    signer = reopen()
    sign(signer, 1, 0, 1)
    sign(signer, 2, 0, 1)
    assert signer.signed(1) == ()
    with pytest.raises(WouldDoubleSign):
        sign(signer, 1, 0, 1)
    signer.close()


def test_a_vote_for_nil_is_remembered_as_one(reopen: Reopen) -> None:
    signer = reopen()
    signer.sign(1, 0, 1, block=None, message=b"nil", key=KEY)
    assert signer.signed(1) == ((0, 1, None, KEY.sign(b"nil")),)
    signer.close()


_REQUESTS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.sampled_from([b"a", b"b"]), st.booleans()),
    max_size=40,
)


@given(requests=_REQUESTS)
def test_no_slot_ever_gets_two_messages(requests: list[tuple[int, int, int, bytes, bool]]) -> None:
    signer, issued = MemorySigner(), dict[tuple[int, int, int], bytes]()
    for height, round_, step, message, _ in requests:
        try:
            sign(signer, height, round_, step, message)
        except WouldDoubleSign:
            continue
        assert issued.setdefault((height, round_, step), message) == message


@settings(max_examples=20)
@given(requests=_REQUESTS)
def test_file_and_memory_agree_across_restarts(
    requests: list[tuple[int, int, int, bytes, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("signer") / "signer.db"
    file, memory = open_file(path), MemorySigner()
    for height, round_, step, message, restart in requests:
        answers = []
        for signer in (file, memory):
            try:
                answers.append(sign(signer, height, round_, step, message))
            except WouldDoubleSign as error:
                answers.append(str(error).encode())
        assert answers[0] == answers[1]
        assert file.signed(height) == memory.signed(height)
        if restart:
            file.close()
            file = open_file(path)
    file.close()


def test_another_chain_or_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signer.db"
    open_file(path).close()
    with pytest.raises(StateError, match="belongs to chain 'test'"):
        SqliteSigner(path, chain_id="other", address=KEY.address)
    with pytest.raises(StateError, match="belongs to chain 'test'"):
        SqliteSigner(path, chain_id="test", address=SigningKey(bytes(32)).address)
    open_file(path).close()


def test_two_processes_cannot_use_it_at_once(tmp_path: Path) -> None:
    first = open_file(tmp_path / "signer.db")
    with pytest.raises(StateError, match="database is locked"):
        open_file(tmp_path / "signer.db")
    first.close()
    open_file(tmp_path / "signer.db").close()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signer.db"
    path.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(StateError, match="not a database"):
        open_file(path)


def test_another_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "signer.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    other.close()
    with pytest.raises(StateError, match="is no signer record"):
        open_file(path)
    check = sqlite3.connect(path)
    assert check.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    check.close()


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be used"):
        open_file(tmp_path / "missing" / "signer.db")


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    open_file(tmp_path / "signer.db").close()
    assert (tmp_path / "signer.db").stat().st_mode & 0o777 == 0o600


def test_a_record_that_cannot_be_read_is_told_in_our_words(tmp_path: Path) -> None:
    signer = open_file(tmp_path / "signer.db")
    sign(signer, 1, 0, 1)
    signer._db.execute("DROP TABLE signed")
    with pytest.raises(StateError, match=r"the signer record .* cannot be used: no such table"):
        signer.signed(1)
    with pytest.raises(StateError, match="no such table"):
        sign(signer, 1, 0, 2)
    signer.close()
