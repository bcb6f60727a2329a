"""The tables of the chain's database, and the questions that are asked page by page.

What is in the packed columns is told in `pdfedchain.store.rows`. The hashes of a block's transactions are not in its
body's row, since they outlive it.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "EVENTS",
    "EVENTS_ABOUT",
    "EVENTS_OF_KIND",
    "FORGET_EVENTS",
    "SCHEMA",
    "SCHEMA_VERSION",
    "TRANSACTIONS_ABOUT",
]

SCHEMA_VERSION: Final = 3

SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE light_blocks (height INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, light BLOB NOT NULL);
CREATE TABLE bodies (height INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE handovers (height INTEGER PRIMARY KEY);
CREATE TABLE transaction_hashes (height INTEGER PRIMARY KEY, hashes BLOB NOT NULL);
CREATE TABLE transactions (
    hash_prefix INTEGER NOT NULL, height INTEGER NOT NULL, PRIMARY KEY (hash_prefix, height)
) WITHOUT ROWID;
CREATE TABLE events (height INTEGER PRIMARY KEY, events BLOB NOT NULL);
CREATE TABLE event_kinds (
    kind TEXT NOT NULL, height INTEGER NOT NULL, events BLOB NOT NULL, PRIMARY KEY (kind, height)
) WITHOUT ROWID;
CREATE TABLE subjects (
    subject BLOB NOT NULL, height INTEGER NOT NULL, transactions BLOB NOT NULL, events BLOB NOT NULL,
    PRIMARY KEY (subject, height)
) WITHOUT ROWID;
CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

#: Heights in order, each with the packed positions that are asked for; ``NULL`` stands for all.
EVENTS: Final = "SELECT height, NULL FROM events WHERE height BETWEEN :from AND :to ORDER BY height LIMIT :limit"
EVENTS_OF_KIND: Final = (
    "SELECT height, events FROM event_kinds WHERE kind = :key"
    " AND height BETWEEN :from AND :to ORDER BY height LIMIT :limit"
)
EVENTS_ABOUT: Final = (
    "SELECT height, events FROM subjects WHERE subject = :key AND events != x''"
    " AND height BETWEEN :from AND :to ORDER BY height LIMIT :limit"
)
TRANSACTIONS_ABOUT: Final = (
    "SELECT height, transactions FROM subjects WHERE subject = :key AND transactions != x''"
    " AND height BETWEEN :from AND :to ORDER BY height LIMIT :limit"
)

#: Of the blocks below a height.
FORGET_EVENTS: Final = (
    "DELETE FROM events WHERE height < ?",
    "DELETE FROM event_kinds WHERE height < ?",
    "DELETE FROM subjects WHERE height < ? AND transactions = x''",
    "UPDATE subjects SET events = x'' WHERE height < ? AND events != x''",
)
