"""The record of our own addresses that goes with every gossip message, made once in a while instead of each time.

libp2p 0.8.1 reads it from the host, parses and packs it again for every message: more than two milliseconds. Nobody
here relies on what it says.
"""

from __future__ import annotations

import time
from typing import Any, Final

from libp2p.abc import IHost

__all__ = ["RememberingHost"]

#: How old what we say of our own addresses may be.
_RECORD_AGE_MAX_S: Final = 1.0


class _OwnRecord:
    """Our record as the peer store keeps it, with what is asked of it for every message computed once."""

    def __init__(self, envelope: Any) -> None:
        self.envelope = envelope
        self._addresses = envelope._env_addrs_set()
        self._packed: bytes = envelope.marshal_envelope()

    def _env_addrs_set(self) -> Any:
        return self._addresses

    def marshal_envelope(self) -> bytes:
        """The bytes to send."""
        return self._packed


class _RememberingStore:
    """A peer store that answers `get_local_record` from memory."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._record: _OwnRecord | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get_local_record(self) -> _OwnRecord | None:
        """Our own record, ``None`` before the first."""
        envelope = self._inner.get_local_record()
        if envelope is None:
            return None
        if self._record is None or self._record.envelope is not envelope:
            self._record = _OwnRecord(envelope)
        return self._record


class RememberingHost:
    """The host as pubsub sees it: what it says of our own addresses holds for `_RECORD_AGE_MAX_S`."""

    def __init__(self, inner: IHost) -> None:
        self._inner = inner
        self._store = _RememberingStore(inner.get_peerstore())
        self._addresses: list[Any] = []
        self._asked_at = -_RECORD_AGE_MAX_S

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get_peerstore(self) -> _RememberingStore:
        """The peer store, remembering."""
        return self._store

    def get_addrs(self) -> list[Any]:
        """Addresses we are reached at."""
        now = time.monotonic()
        if now - self._asked_at >= _RECORD_AGE_MAX_S:
            self._addresses, self._asked_at = self._inner.get_addrs(), now
        return self._addresses
