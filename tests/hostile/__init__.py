"""Honest traffic beside hostile peers, measured: ``make hostile``."""
