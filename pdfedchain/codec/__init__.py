"""Canonical encoding: `canonical` marks a dataclass, `encode` and `decode` are inverse to the byte."""

from pdfedchain.codec.binary import decode, encode
from pdfedchain.codec.plain import from_plain, to_plain
from pdfedchain.codec.schema import canonical, tag_of

__all__ = ["canonical", "decode", "encode", "from_plain", "tag_of", "to_plain"]
