"""Nodes that do not behave: each a real process, one kind of misbehaviour per file."""
