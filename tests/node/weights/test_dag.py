"""Encoding and strict decoding of UnixFS nodes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.weights.cid import Codec, cid_of
from node.weights.dag import DirectoryNode, FileNode, Link, check_name, decode_node, encode_node
from node.weights.errors import MalformedWeights, WeightsTooLarge

LEAF = cid_of(Codec.RAW, b"leaf")

names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\x7f", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 255)
cids = st.builds(cid_of, st.sampled_from(Codec), st.binary(max_size=4))
sizes = st.integers(0, 2**40)


@st.composite
def directories(draw: st.DrawFn) -> DirectoryNode:
    found = sorted(draw(st.sets(names, max_size=6)), key=str.encode)
    return DirectoryNode(tuple(Link(draw(cids), name, draw(sizes)) for name in found))


@st.composite
def files(draw: st.DrawFn) -> FileNode:
    links = tuple(Link(draw(cids), "", draw(sizes)) for _ in range(draw(st.integers(1, 6))))
    return FileNode(links, tuple(draw(sizes) for _ in links))


nodes = directories() | files()


def directory(*named: str) -> DirectoryNode:
    return DirectoryNode(tuple(Link(LEAF, name, 4) for name in named))


@given(nodes)
def test_decoding_is_the_inverse_of_encoding(node: DirectoryNode | FileNode) -> None:
    assert node == decode_node(encode_node(node))


@given(nodes, st.data())
def test_no_changed_block_decodes_to_the_same_node(node: DirectoryNode | FileNode, data: st.DataObject) -> None:
    block = bytearray(encode_node(node))
    at = data.draw(st.integers(0, len(block) - 1))
    block[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(MalformedWeights):
        assert node != decode_node(bytes(block))


@given(nodes, st.data())
def test_every_truncated_block_is_refused(node: DirectoryNode | FileNode, data: st.DataObject) -> None:
    block = encode_node(node)
    cut = data.draw(st.integers(0, len(block) - 1))
    with pytest.raises(MalformedWeights):
        decode_node(block[:cut])


@given(st.binary(max_size=200))
def test_what_decodes_encodes_to_the_same_bytes(block: bytes) -> None:
    try:
        node = decode_node(block)
    except MalformedWeights:
        return
    assert block == encode_node(node)


EMPTY = b"\x0a\x02\x08\x01"
LINK = b"\x0a\x24" + LEAF + b"\x12\x01a\x18\x04"


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"", "without UnixFS data"),
        (b"\x12\x2b" + LINK, "without UnixFS data"),
        (EMPTY + b"\x12\x2b" + LINK, "canonical"),  # links after data
        (EMPTY + EMPTY, "canonical"),
        (EMPTY + b"\x00", "ends inside a number"),
        (b"\x0a\x82\x00\x08\x01", "canonical"),  # length in two bytes where one does
        (b"\x0a\x02\x08\x01\x1a\x00", "field 3"),
        (b"\x08\x01", "field 1"),  # data as a number
        (b"\x0a\x02\x08", "ends after its message"),
        (b"\x0a\x01\x08", "ends inside a number"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "beyond"),
        (b"\x0d\x00\x00\x00\x00", "wire type 5"),
        (b"\x0a\x02\x08\x00", "type 0"),  # UnixFS raw
        (b"\x0a\x02\x08\x04", "type 4"),  # symbolic link
        (b"\x0a\x02\x08\x05", "type 5"),  # HAMT directory
        (b"\x0a\x02\x08\x03", "type 3"),  # metadata
        (b"\x0a\x00", "type None"),
        (b"\x0a\x05\x08\x02\x12\x01x", "field 2"),  # inline data
        (b"\x0a\x05\x08\x01\x38\xed\x03", "field 7"),  # mode
        (b"\x0a\x04\x08\x01\x18\x00", "canonical"),  # a directory with a size
        (b"\x0a\x04\x08\x02\x18\x00", "0 links"),  # a file without parts
        (b"\x0a\x06\x08\x02\x18\x04\x20\x04", "0 links and 1 sizes"),
    ],
)
def test_other_encodings_are_refused(block: bytes, why: str) -> None:
    with pytest.raises(MalformedWeights, match=why):
        decode_node(block)


@pytest.mark.parametrize(
    ("link", "why"),
    [
        (b"\x0a\x24" + LEAF + b"\x12\x01a", "without identifier, name or size"),
        (b"\x0a\x24" + LEAF + b"\x18\x04", "without identifier, name or size"),
        (b"\x12\x01a\x18\x04", "without identifier, name or size"),
        (b"\x0a\x22\x12\x20" + LEAF[4:] + b"\x12\x01a\x18\x04", "not a CIDv1"),  # CIDv0
        (b"\x0a\x24\x01\x71" + LEAF[2:] + b"\x12\x01a\x18\x04", "not a CIDv1"),  # dag-cbor
        (b"\x0a\x24" + LEAF + b"\x12\x01\xff\x18\x04", "not a dag-pb link"),  # not UTF-8
        (b"\x12\x01a\x0a\x24" + LEAF + b"\x18\x04", "canonical"),
        (LINK + b"\x20\x00", "canonical"),
    ],
)
def test_other_links_are_refused(link: bytes, why: str) -> None:
    with pytest.raises(MalformedWeights, match=why):
        decode_node(b"\x12" + bytes((len(link),)) + link + EMPTY)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "..\\x", "a\0", "new\nline", "\x7f", "\udcff"])
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(MalformedWeights, match="rename the file"):
        check_name(name)


def test_a_name_may_have_255_bytes_and_no_more() -> None:
    assert check_name("ü" * 127 + "x") == "ü" * 127 + "x"
    with pytest.raises(MalformedWeights, match="256 bytes"):
        check_name("ü" * 128)


@pytest.mark.parametrize("name", ["..", "a/b", "a\0b", ""])
def test_a_directory_with_an_unsafe_name_is_refused(name: str) -> None:
    raw = name.encode()
    link = b"\x0a\x24" + LEAF + b"\x12" + bytes((len(raw),)) + raw + b"\x18\x04"
    with pytest.raises(MalformedWeights, match="not safe"):
        decode_node(b"\x12" + bytes((len(link),)) + link + EMPTY)


@pytest.mark.parametrize("named", [("b", "a"), ("a", "a"), ("a", "Z"), ("\U00010000", "\uffff")])
def test_unsorted_and_repeated_names_are_refused(named: tuple[str, ...]) -> None:
    with pytest.raises(MalformedWeights, match="not sorted or not unique"):
        encode_node(directory(*named))


def test_a_file_node_has_no_named_links() -> None:
    with pytest.raises(MalformedWeights, match="named link"):
        encode_node(FileNode((Link(LEAF, "a", 4),), (4,)))


def test_sizes_beyond_63_bits_are_refused() -> None:
    with pytest.raises(WeightsTooLarge):
        encode_node(FileNode((Link(LEAF, "", 4),) * 2, (2**62, 2**62)))


def test_a_file_node_has_at_most_1024_links() -> None:
    most = FileNode((Link(LEAF, "", 4),) * 1_024, (4,) * 1_024)
    assert most == decode_node(encode_node(most))
    with pytest.raises(WeightsTooLarge, match="1025 links"):
        encode_node(FileNode((Link(LEAF, "", 4),) * 1_025, (4,) * 1_025))


def test_a_directory_of_a_hundred_thousand_links_is_refused_by_both_sides() -> None:
    with pytest.raises(WeightsTooLarge, match="100000 entries"):
        encode_node(directory(*(f"{i:06}" for i in range(100_000))))
    with pytest.raises(WeightsTooLarge, match="at most 262144"):
        decode_node((b"\x12\x2b" + LINK) * 100_000 + EMPTY)


def test_a_file_node_of_thousands_of_links_is_refused_by_the_decoder() -> None:
    link = b"\x0a\x24" + LEAF + b"\x12\x00\x18\x04"
    data = b"\x08\x02\x18\x80\x7d" + b"\x20\x04" * 4_000
    block = (b"\x12" + bytes((len(link),)) + link) * 4_000 + b"\x0a\xc5\x3e" + data
    with pytest.raises(WeightsTooLarge, match="4000 links"):
        decode_node(block)
