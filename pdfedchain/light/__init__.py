"""Believing what a stranger says about a chain, from one trusted hash and no database."""

from pdfedchain.light.client import CLOCK_BOUND_MS, Head, LightClient, ProvenState, verify_bundle
from pdfedchain.light.errors import (
    BadCertificate,
    BadHandover,
    BadValue,
    BrokenLink,
    ForkDetected,
    FromTheFuture,
    LightError,
    NotNewer,
    NotProven,
    TrustExpired,
    UnknownAuthorities,
    UntrustedAnchor,
    WrongChain,
)
from pdfedchain.light.snapshot import BadSnapshot, StateAssembly
from pdfedchain.types.light import HeaderAnchor, LightBlock, LightBundle, ValueProof

__all__ = [
    "CLOCK_BOUND_MS",
    "BadCertificate",
    "BadHandover",
    "BadSnapshot",
    "BadValue",
    "BrokenLink",
    "ForkDetected",
    "FromTheFuture",
    "Head",
    "HeaderAnchor",
    "LightBlock",
    "LightBundle",
    "LightClient",
    "LightError",
    "NotNewer",
    "NotProven",
    "ProvenState",
    "StateAssembly",
    "TrustExpired",
    "UnknownAuthorities",
    "UntrustedAnchor",
    "ValueProof",
    "WrongChain",
    "verify_bundle",
]
