"""What all tests of weights share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing costs milliseconds a block and shows only when the power fails.

    That it is done, and in which order, has a test of its own.
    """
    monkeypatch.setattr(os, "fsync", lambda _: None)
