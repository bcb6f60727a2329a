"""Nodes of a folder as IPFS writes them: UnixFS inside dag-pb, encoded by hand.

A folder is a tree of blocks that name their children by hash. Chunks of files are raw blocks without any wrapping;
this module writes and reads the two kinds of block above them, the file node and the directory.

Of the many encodings UnixFS allows we write one and read the same one (profile ``unixfs-v1-2025`` of IPIP-499), so
that one folder has one identifier, here and in every IPFS implementation that follows the profile: no inline data,
no HAMT directories, no modes and times. `decode_node` encodes again and compares, which refuses unordered fields,
over-long varints, unknown fields and left-over bytes in one stroke. Protobuf is 40 lines here; a generated parser
would accept all of these and cost a dependency.

::

    block      = *( 0x12 len link )  0x0a len unixfs                links first, then data
    link       = 0x0a 0x24 cid  0x12 len name  0x18 tsize           name empty below a file
    unixfs     = 0x08 0x01                                          directory
               | 0x08 0x02  0x18 filesize  *( 0x20 blocksize )      file

Source: https://ipld.io/specs/codecs/dag-pb/spec/, https://specs.ipfs.tech/unixfs/, IPIP-499.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from node.weights.errors import MalformedWeights, WeightsTooLarge
from node.weights.limits import (
    DIRECTORY_SIZE_BYTES_MAX,
    LINKS_PER_FILE_NODE,
    NAME_SIZE_BYTES_MAX,
    PATH_SIZE_BYTES_MAX,
)
from pdfedchain.errors import DecodeError
from pdfedchain.ids import Cid, check_cid
from pdfedchain.limits import UINT_MAX

__all__ = ["DirectoryNode", "FileNode", "Link", "check_name", "decode_node", "encode_node", "join_path"]

_VARINT, _BYTES = 0, 2  # protobuf wire types
_UNIXFS_DIRECTORY, _UNIXFS_FILE = 1, 2


@dataclass(frozen=True, slots=True)
class Link:
    """A child of a node.

    Attributes:
        cid: the child's root block.
        name: file or directory name; empty below a file.
        tsize_bytes: size of all blocks below, the child's root included, repetitions counted.
    """

    cid: Cid
    name: str
    tsize_bytes: int


@dataclass(frozen=True, slots=True)
class FileNode:
    """An inner node of a file of more than one chunk.

    Attributes:
        links: parts of the file, in order.
        sizes_bytes: of each link, the bytes of the file it holds.
    """

    links: tuple[Link, ...]
    sizes_bytes: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return sum(self.sizes_bytes)


@dataclass(frozen=True, slots=True)
class DirectoryNode:
    """A directory.

    Attributes:
        links: entries, sorted by the UTF-8 bytes of their names, which are unique.
    """

    links: tuple[Link, ...]


def check_name(name: str) -> str:
    """Return ``name`` if a file may safely have it on every platform we run on.

    Raises:
        MalformedWeights: it is empty, ``.``, ``..``, too long, no UTF-8, or has a separator or control character.
    """
    try:
        size_bytes = len(name.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise MalformedWeights(f"file name {name!r} is no valid Unicode; rename the file") from error
    if name in ("", ".", "..") or "/" in name or "\\" in name or any(ord(c) < 0x20 or ord(c) == 0x7F for c in name):
        raise MalformedWeights(f"file name {name[:80]!r} is not safe to write; rename the file")
    if size_bytes > NAME_SIZE_BYTES_MAX:
        raise MalformedWeights(f"file name {name[:80]!r}... has {size_bytes} bytes, at most {NAME_SIZE_BYTES_MAX}")
    return name


def join_path(path: str, name: str) -> str:
    """The path of an entry inside a folder.

    Raises:
        WeightsTooLarge: it is longer than every disk takes.
    """
    joined = f"{path}/{name}" if path else name
    if len(joined.encode("utf-8")) > PATH_SIZE_BYTES_MAX:
        raise WeightsTooLarge(f"the path {joined[:80]!r}... has more than {PATH_SIZE_BYTES_MAX} bytes")
    return joined


def encode_node(node: FileNode | DirectoryNode) -> bytes:
    """The one encoding of a node.

    Raises:
        MalformedWeights: names are unsafe, unsorted or repeated, or counts do not agree.
        WeightsTooLarge: more links, or a larger directory, than one block may have.
    """
    _check_node(node)
    parts: list[bytes] = []
    for link in node.links:
        name = link.name.encode("utf-8")
        body = b"\x0a" + _sized(link.cid) + b"\x12" + _sized(name) + b"\x18" + _varint(link.tsize_bytes)
        parts += (b"\x12", _sized(body))
    if isinstance(node, DirectoryNode):
        data = bytes((0x08, _UNIXFS_DIRECTORY))
    else:
        sizes = b"".join(b"\x20" + _varint(size) for size in node.sizes_bytes)
        data = bytes((0x08, _UNIXFS_FILE, 0x18)) + _varint(node.size_bytes) + sizes
    parts += (b"\x0a", _sized(data))
    block = b"".join(parts)
    if isinstance(node, DirectoryNode) and len(block) > DIRECTORY_SIZE_BYTES_MAX:
        raise WeightsTooLarge(f"a directory of {len(node.links)} entries is too large; use fewer files")
    return block


def decode_node(block: bytes) -> FileNode | DirectoryNode:
    """The node whose encoding is ``block``.

    Raises:
        MalformedWeights: not dag-pb, not UnixFS, of a kind we do not use, or not the canonical encoding.
        WeightsTooLarge: see `encode_node`.
    """
    if len(block) > DIRECTORY_SIZE_BYTES_MAX:
        raise WeightsTooLarge(f"a node of {len(block)} bytes, at most {DIRECTORY_SIZE_BYTES_MAX} allowed")
    links: list[Link] = []
    data: bytes | None = None
    for number, value in _fields(block):
        if number == 2 and isinstance(value, bytes):
            links.append(_decode_link(value))
        elif number == 1 and isinstance(value, bytes):
            data = value
        else:
            raise MalformedWeights(f"not a dag-pb node: field {number}")
    if data is None:
        raise MalformedWeights("a dag-pb node without UnixFS data")
    node = _decode_unixfs(data, tuple(links))
    if encode_node(node) != block:
        raise MalformedWeights("not the canonical encoding of a UnixFS node")
    return node


def _check_node(node: FileNode | DirectoryNode) -> None:
    if isinstance(node, DirectoryNode):
        names = [check_name(link.name).encode("utf-8") for link in node.links]
        for before, after in itertools.pairwise(names):
            if before >= after:
                raise MalformedWeights(f"directory entries are not sorted or not unique at {after[:80]!r}")
        return
    if len(node.links) != len(node.sizes_bytes) or not node.links:
        raise MalformedWeights(f"a file node with {len(node.links)} links and {len(node.sizes_bytes)} sizes")
    if len(node.links) > LINKS_PER_FILE_NODE:
        raise WeightsTooLarge(f"a file node with {len(node.links)} links, at most {LINKS_PER_FILE_NODE} allowed")
    if any(link.name for link in node.links):
        raise MalformedWeights("a file node with a named link")
    if node.size_bytes > UINT_MAX or any(link.tsize_bytes > UINT_MAX for link in node.links):
        raise WeightsTooLarge("a file node with a size beyond 2**63 - 1")


def _decode_link(body: bytes) -> Link:
    cid: Cid | None = None
    name: str | None = None
    tsize: int | None = None
    try:
        for number, value in _fields(body):
            if number == 1 and isinstance(value, bytes):
                cid = check_cid(value)
            elif number == 2 and isinstance(value, bytes):
                name = value.decode("utf-8")
            elif number == 3 and isinstance(value, int):
                tsize = value
    except (DecodeError, UnicodeDecodeError) as error:
        raise MalformedWeights(f"not a dag-pb link: {error}") from error
    if cid is None or name is None or tsize is None:
        raise MalformedWeights("a dag-pb link without identifier, name or size")
    return Link(cid, name, tsize)


def _decode_unixfs(data: bytes, links: tuple[Link, ...]) -> FileNode | DirectoryNode:
    kind: int | bytes | None = None
    sizes: list[int] = []
    for number, value in _fields(data):
        if number == 1:
            kind = value
        elif number == 4 and isinstance(value, int):
            sizes.append(value)
        elif number != 3:
            raise MalformedWeights(f"a UnixFS node with field {number}, which weights do not use")
    if kind == _UNIXFS_DIRECTORY:
        return DirectoryNode(links)
    if kind == _UNIXFS_FILE:
        return FileNode(links, tuple(sizes))
    raise MalformedWeights(f"a UnixFS node of type {kind!r}; only files and basic directories are used")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each protobuf field; only the two wire types in use."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if key & 7 == _VARINT:
            yield key >> 3, value
        elif key & 7 == _BYTES:
            if value > len(data) - at:
                raise MalformedWeights("a protobuf field that ends after its message")
            yield key >> 3, data[at : at + value]
            at += value
        else:
            raise MalformedWeights(f"a protobuf field of wire type {key & 7}")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 63, 7):
        if at >= len(data):
            raise MalformedWeights("a protobuf message that ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedWeights("a protobuf number beyond 2**63 - 1")


def _varint(value: int) -> bytes:
    assert 0 <= value <= UINT_MAX, "sizes are checked before they are encoded"
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data
