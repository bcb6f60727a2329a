"""Durable storage of a chain."""
