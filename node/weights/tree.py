"""What a folder's tree of blocks must look like, and how a file becomes one.

The profile leaves no freedom: chunks of 1 MiB, nodes of 1,024 links filled from the left, a file of one chunk is
that chunk. So the size of a file fixes the whole shape of its tree, and a parent fixes the size of each child.
`children` holds every block to that. It follows that

- the root block alone says how large a folder is, and no later block can make it larger;
- a block with right hash and wrong place is found when it arrives, not after everything has been fetched;
- one content has one identifier: weights cannot be submitted a second time by cutting them differently.

Pure functions and a builder; nothing here reads or writes. A cycle would need a hash that contains itself; depth is
bounded all the same, since walking is recursive in places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from node.weights.cid import Block, Codec, codec_of
from node.weights.dag import DirectoryNode, FileNode, Link, decode_node, encode_node
from node.weights.errors import MalformedWeights, WeightsTooLarge
from node.weights.limits import (
    CHUNK_SIZE_BYTES,
    DIRECTORY_DEPTH_MAX,
    FILE_HEIGHT_MAX,
    LINKS_PER_FILE_NODE,
)
from pdfedchain.ids import Cid, cid_text

__all__ = ["PROFILE", "Expected", "Layout", "children", "put_directory", "put_file", "tree_size_bytes"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How files are cut; tests use small ones to reach deep trees.

    Attributes:
        chunk_size_bytes: of every chunk but a file's last.
        links_max: children of a full node.
    """

    chunk_size_bytes: int = CHUNK_SIZE_BYTES
    links_max: int = LINKS_PER_FILE_NODE

    def height(self, size_bytes: int) -> int:
        """Levels of nodes above the chunks of a file; 0 when one chunk holds it all."""
        height, capacity = 0, self.chunk_size_bytes
        while capacity < size_bytes:
            height, capacity = height + 1, capacity * self.links_max
        return height

    def parts(self, size_bytes: int, height: int) -> tuple[int, ...]:
        """Bytes below each child of a node that holds ``size_bytes`` at ``height`` above the chunks."""
        capacity: int = self.chunk_size_bytes * self.links_max ** (height - 1)
        full, rest = divmod(size_bytes, capacity)
        return (capacity,) * full + ((rest,) if rest else ())


#: ``unixfs-v1-2025``.
PROFILE: Final = Layout()


@dataclass(frozen=True, slots=True)
class Expected:
    """A block of a tree, and what its parent says about it.

    Attributes:
        cid: the block.
        depth: directories above it.
        tsize_bytes: its tree's size; None for the root of all, of which nobody has said anything.
        size_bytes: bytes of the file below it; None unless it is a part of a file.
        height: levels of nodes between it and the chunks; None unless it is a part of a file.
    """

    cid: Cid
    depth: int = 0
    tsize_bytes: int | None = None
    size_bytes: int | None = None
    height: int | None = None

    @property
    def is_leaf(self) -> bool:
        """It has no children: a chunk."""
        return codec_of(self.cid) is Codec.RAW


def children(expected: Expected, block: Block, layout: Layout = PROFILE) -> tuple[tuple[str, Expected], ...]:
    """The children of a block, with names where it is a directory.

    Args:
        expected: what the parent says; `Expected(cid)` for the root.
        block: the block itself.
        layout: of the files.

    Raises:
        MalformedWeights: the block is no node of the profile, or not what its parent says.
        WeightsTooLarge: too deep, or too many links.
    """
    assert expected.cid == block.cid, "a block is judged by its own expectation"
    try:
        if codec_of(block.cid) is Codec.RAW:
            return _check_leaf(expected, block, layout)
        node = decode_node(block.data)
        _check_tsize(expected, len(block.data) + sum(link.tsize_bytes for link in node.links))
        if isinstance(node, DirectoryNode):
            return _directory_children(expected, node)
        return _file_children(expected, node, layout)
    except MalformedWeights as error:
        raise type(error)(f"block {cid_text(block.cid)}: {error}") from error


def tree_size_bytes(root: Block) -> int:
    """Size of all blocks of a tree, repetitions counted, as its root says (`children` holds the rest to it).

    Raises:
        MalformedWeights: the root is no node of the profile.
    """
    if codec_of(root.cid) is Codec.RAW:
        return len(root.data)
    return len(root.data) + sum(link.tsize_bytes for link in decode_node(root.data).links)


def _check_tsize(expected: Expected, tsize_bytes: int) -> None:
    if expected.tsize_bytes is not None and expected.tsize_bytes != tsize_bytes:
        raise MalformedWeights(f"a tree of {tsize_bytes} bytes where its parent says {expected.tsize_bytes}")


def _check_leaf(expected: Expected, block: Block, layout: Layout) -> tuple[tuple[str, Expected], ...]:
    if len(block.data) > layout.chunk_size_bytes:
        raise MalformedWeights(f"a chunk of {len(block.data)} bytes, at most {layout.chunk_size_bytes} allowed")
    _check_tsize(expected, len(block.data))
    return ()


def _directory_children(expected: Expected, node: DirectoryNode) -> tuple[tuple[str, Expected], ...]:
    if expected.height is not None:
        raise MalformedWeights("a directory inside a file")
    depth = expected.depth + 1
    if depth > DIRECTORY_DEPTH_MAX:
        raise WeightsTooLarge(f"directories nested deeper than {DIRECTORY_DEPTH_MAX}")
    return tuple((link.name, Expected(link.cid, depth, link.tsize_bytes)) for link in node.links)


def _file_children(expected: Expected, node: FileNode, layout: Layout) -> tuple[tuple[str, Expected], ...]:
    size_bytes = node.size_bytes
    height = layout.height(size_bytes)
    if expected.height is not None:
        height = expected.height
        if size_bytes != expected.size_bytes:
            raise MalformedWeights(f"a part of {size_bytes} bytes where its parent says {expected.size_bytes}")
    if height == 0:
        raise MalformedWeights("a node where one chunk would do")
    if height > FILE_HEIGHT_MAX:
        raise WeightsTooLarge(f"a file of {size_bytes} bytes")
    if node.sizes_bytes != layout.parts(size_bytes, height):
        raise MalformedWeights(f"a file node that is not cut as the profile says: {len(node.links)} parts")
    for link, size in zip(node.links, node.sizes_bytes, strict=True):
        if (codec_of(link.cid) is Codec.RAW) != (height == 1):
            raise MalformedWeights(f"a file node with chunks and nodes at the wrong height, {height}")
        if height == 1 and link.tsize_bytes != size:
            raise MalformedWeights(f"a chunk with two sizes, {link.tsize_bytes} and {size} bytes")
    return tuple(
        ("", Expected(link.cid, expected.depth, link.tsize_bytes, size, height - 1))
        for link, size in zip(node.links, node.sizes_bytes, strict=True)
    )


@dataclass(slots=True)
class _Level:
    """Finished children of one level that have no parent yet; never more than `Layout.links_max`."""

    links: list[Link] = field(default_factory=list)
    sizes_bytes: list[int] = field(default_factory=list)


def put_file(stream: BinaryIO, put: Callable[[Block], None], layout: Layout = PROFILE) -> Link:
    """Cut a file into blocks, leaves first, and hand each to ``put``.

    Memory: one chunk and at most 1,024 links a level, whatever the size of the file.

    Args:
        stream: read to its end.
        put: called once for each block; the root comes last.
        layout: how to cut.

    Returns:
        The root, without a name.
    """
    levels = [_Level()]
    while True:
        chunk = _read_chunk(stream, layout.chunk_size_bytes)
        if not chunk and (levels[0].links or len(levels) > 1):
            break
        block = Block.of(Codec.RAW, chunk)
        put(block)
        _push(levels, 0, Link(block.cid, "", len(chunk)), len(chunk), put, layout)
        if len(chunk) < layout.chunk_size_bytes:
            break
    for height in range(len(levels) - 1):
        if levels[height].links:
            _fold(levels, height, put, layout)
    if len(levels[-1].links) > 1:
        _fold(levels, len(levels) - 1, put, layout)
    (root,) = levels[-1].links
    return root


def _read_chunk(stream: BinaryIO, size_bytes: int) -> bytes:
    chunk = stream.read(size_bytes)
    while len(chunk) < size_bytes and (more := stream.read(size_bytes - len(chunk))):
        chunk += more
    return chunk


def _push(
    levels: list[_Level], height: int, link: Link, size_bytes: int, put: Callable[[Block], None], layout: Layout
) -> None:
    if height == len(levels):
        levels.append(_Level())
    level = levels[height]
    level.links.append(link)
    level.sizes_bytes.append(size_bytes)
    if len(level.links) == layout.links_max:
        _fold(levels, height, put, layout)


def _fold(levels: list[_Level], height: int, put: Callable[[Block], None], layout: Layout) -> None:
    """Give the children of a level their parent."""
    level = levels[height]
    node = FileNode(tuple(level.links), tuple(level.sizes_bytes))
    block = Block.of(Codec.DAG_PB, encode_node(node))
    put(block)
    levels[height] = _Level()
    tsize_bytes = len(block.data) + sum(link.tsize_bytes for link in node.links)
    _push(levels, height + 1, Link(block.cid, "", tsize_bytes), node.size_bytes, put, layout)


def put_directory(entries: list[Link], put: Callable[[Block], None]) -> Link:
    """Make a directory of named links, in any order, and hand its block to ``put``.

    Returns:
        The directory, without a name.

    Raises:
        MalformedWeights: a name is unsafe or given twice.
        WeightsTooLarge: the entries do not fit one block.
    """
    node = DirectoryNode(tuple(sorted(entries, key=lambda link: link.name.encode("utf-8", "surrogateescape"))))
    block = Block.of(Codec.DAG_PB, encode_node(node))
    put(block)
    return Link(block.cid, "", len(block.data) + sum(link.tsize_bytes for link in node.links))
