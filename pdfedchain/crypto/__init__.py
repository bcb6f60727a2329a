"""Hashes, keys and the Merkle state tree."""

from pdfedchain.crypto.hash import hash_of, tagged_hash
from pdfedchain.crypto.keys import SigningKey, check_address, verifies, verify
from pdfedchain.crypto.merkle import EMPTY_ROOT, StateProof, StateTree, verify_absence, verify_presence

__all__ = [
    "EMPTY_ROOT",
    "SigningKey",
    "StateProof",
    "StateTree",
    "check_address",
    "hash_of",
    "tagged_hash",
    "verifies",
    "verify",
    "verify_absence",
    "verify_presence",
]
