"""What a light client refuses, one class per reason.

::

    InvalidProof
    └── LightError              what somebody handed over does not convince
        ├── UntrustedAnchor     the hash of what trust is to begin with is not the one the caller trusts
        ├── WrongChain          a header of another chain
        ├── TrustExpired        what is trusted is too old to be followed or believed now
        ├── FromTheFuture       a header's time is ahead of the caller's clock
        ├── NotNewer            a header that is not above the trusted one in height and time
        ├── BrokenLink          the next header names another parent
        ├── UnknownAuthorities  a header of other authorities than the trusted ones: a handover is missing
        ├── BadCertificate      no quorum of them precommitted this header
        ├── BadHandover         the new authorities are missing, needless, or not the ones the header names
        ├── ForkDetected        two certified blocks of one height: evidence that the authorities broke their word
        ├── BadValue            a value or an absence that the state's root does not contain
        └── NotProven           nothing was shown about this key

None of them says that the thing is false: another provider may show what this one failed to show. The exception is
`ForkDetected`, whose two blocks prove misbehaviour to anybody.
"""

from __future__ import annotations

from pdfedchain.errors import InvalidProof
from pdfedchain.types.light import LightBlock

__all__ = [
    "BadCertificate",
    "BadHandover",
    "BadValue",
    "BrokenLink",
    "ForkDetected",
    "FromTheFuture",
    "LightError",
    "NotNewer",
    "NotProven",
    "TrustExpired",
    "UnknownAuthorities",
    "UntrustedAnchor",
    "WrongChain",
]


class LightError(InvalidProof):
    """What somebody handed over does not convince; what was trusted before is trusted still."""


class UntrustedAnchor(LightError):
    """The hash of the anchor is not the trusted one."""


class WrongChain(LightError):
    """A header is of another chain."""


class TrustExpired(LightError):
    """What is trusted is older than the trusting period: its authorities may have changed, and sold their keys."""


class FromTheFuture(LightError):
    """A header's time is ahead of the caller's clock by more than the bound."""


class NotNewer(LightError):
    """A header is not above the trusted one in height and time."""


class BrokenLink(LightError):
    """The header of the next height names another parent than the trusted header."""


class UnknownAuthorities(LightError):
    """A header of other authorities than the trusted header names."""


class BadCertificate(LightError):
    """No quorum of the trusted authorities precommitted this header."""


class BadHandover(LightError):
    """The authorities to trust next are missing, needless, or not the ones that the header names."""


class ForkDetected(LightError):
    """Two different blocks of one height, each precommitted by a quorum.

    Attributes:
        trusted, other: the two blocks; everybody who voted for both is a proven offender.
    """

    def __init__(self, trusted: LightBlock, other: LightBlock) -> None:
        super().__init__(
            f"two certified blocks at height {other.header.height}: {trusted.hash.hex()} and {other.hash.hex()}",
            hint="trust neither; show both to the other participants",
        )
        self.trusted = trusted
        self.other = other


class BadValue(LightError):
    """The state's root does not contain this value, or contains one where absence is claimed."""


class NotProven(LightError):
    """Nothing was shown about this key, neither its value nor its absence."""
