"""Deliberate bugs in consensus, and the tests that catch them: ``python -m tests.mutation`` (``make mutants``)."""
