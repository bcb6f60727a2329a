"""Processes that are killed at every write: ``python -m tests.crash`` (``make crash``)."""
