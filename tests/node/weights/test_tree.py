"""The shape of trees, held against another implementation and against forgeries.

The identifiers are those of Helia (ipfs-unixfs-importer, profile ``unixfs-v1-2025``) for the bytes that SHAKE-128
squeezes out of the name given; changing one is never right.
"""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.weights.cid import Block, Codec
from node.weights.dag import DirectoryNode, FileNode, Link, encode_node
from node.weights.errors import MalformedWeights, WeightsTooLarge
from node.weights.tree import PROFILE, Expected, Layout, children, put_directory, put_file, tree_size_bytes
from pdfedchain.ids import Cid, cid_text, parse_cid

MIB = 1_048_576
SMALL = Layout(chunk_size_bytes=4, links_max=3)


def squeeze(name: str, size_bytes: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(size_bytes)


class Blocks(dict[Cid, Block]):
    """Blocks by identifier, filled by the builder."""

    def put(self, block: Block) -> None:
        self[block.cid] = block

    def add(self, data: bytes, layout: Layout = PROFILE) -> Link:
        return put_file(io.BytesIO(data), self.put, layout)

    def node(self, node: FileNode | DirectoryNode) -> Link:
        block = Block.of(Codec.DAG_PB, encode_node(node))
        self.put(block)
        return Link(block.cid, "", len(block.data) + sum(link.tsize_bytes for link in node.links))

    def raw(self, data: bytes) -> Link:
        block = Block.of(Codec.RAW, data)
        self.put(block)
        return Link(block.cid, "", len(data))

    def read(self, expected: Expected, layout: Layout = PROFILE) -> bytes:
        """The file below a block, every block on the way held to what its parent says."""
        block = self[expected.cid]
        below = children(expected, block, layout)
        return block.data if expected.is_leaf else b"".join(self.read(child, layout) for _, child in below)


@pytest.mark.parametrize(
    ("size_bytes", "cid", "tsize_bytes"),
    [
        (0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", 0),
        (1, "bafkreihpfujh3y33sqv2vudbixsuwddbtipsemt3f2547pwhr5kwjl7dtu", 1),
        (MIB - 1, "bafkreideuir6c56s3u3zfqmas7qnwaepr7zrbjcphogdaf6gedxo4utxfe", MIB - 1),
        (MIB, "bafkreicdfdkencdn7pcffa7aqqhycnkswfrbtxak3f7ffqm4rdywrf3uga", MIB),
        (MIB + 1, "bafybeiafppttuzfanesbwxxwbw24jos4tubt7jm6raokzje3lx5c2nwcfy", 1_048_681),
        (3 * MIB, "bafybeidrhf2owflydoqfgy7kxzf4bz22oxuo2yvaspwcdmcb6zurjmnwku", 3_145_887),
    ],
)
def test_files_have_the_identifiers_ipfs_gives_them(size_bytes: int, cid: str, tsize_bytes: int) -> None:
    blocks = Blocks()
    data = squeeze("pdfed", size_bytes)
    link = blocks.add(data)
    assert (cid, tsize_bytes) == (cid_text(link.cid), link.tsize_bytes)
    assert data == blocks.read(Expected(link.cid))


@pytest.mark.parametrize(
    ("size_bytes", "cid", "tsize_bytes"),
    [
        (4, "bafkreieplee33ad3ec6bcqybf2b54fdpy4lrt5i62ngb7pmjt4y7i6kog4", 4),
        (5, "bafybeiga65hsle2iovxzufsr6ytpky6adm75zqggef5o7bhen3gnbqvxmq", 103),
        (12, "bafybeibi7cplzzox6lbfjjg4hvagydghrhlupvx45gndewphi75vhde6e4", 156),
        (13, "bafybeihgmsnhbqlvattg4otemxivu2cnpawq3vfquvbi3kcjnn54b6qwhm", 308),
        (36, "bafybeieidfubzql6lkkqfvefefztz22sdvo7u7hd7kv3qxvgetucl2sqzi", 615),
        (37, "bafybeieghfk74punfy3seiqtrrbojqotmyptjigztmm74ajpychell7tlu", 819),
        (100, "bafybeibhyyvtdes72pyafo5tlei5czjqhfyno23ycuz4tgdlysjusubgeu", 1_891),
    ],
)
def test_trees_of_several_levels_are_the_ones_ipfs_builds(size_bytes: int, cid: str, tsize_bytes: int) -> None:
    link = Blocks().add(squeeze("pdfed", size_bytes), SMALL)
    assert (cid, tsize_bytes) == (cid_text(link.cid), link.tsize_bytes)


def test_nodes_of_1024_links_are_the_ones_ipfs_builds() -> None:
    link = Blocks().add(squeeze("pdfed", 3 * MIB), Layout(chunk_size_bytes=1_024))
    assert cid_text(link.cid) == "bafybeidp224d4wzy6ooksbf3ojugpfxgx7ihjssquzxi2z2l7r7cvthyre"
    assert link.tsize_bytes == 3_293_370


@given(st.binary(max_size=4 * 3**3))
def test_what_is_cut_reads_back(data: bytes) -> None:
    blocks = Blocks()
    link = blocks.add(data, SMALL)
    assert data == blocks.read(Expected(link.cid, 0, link.tsize_bytes), SMALL)
    assert link.tsize_bytes == tree_size_bytes(blocks[link.cid])


@given(st.integers(0, 2**50), st.integers(1, 2**20), st.integers(2, 1_024))
def test_parts_add_up_and_none_but_the_last_is_short(size_bytes: int, chunk: int, links_max: int) -> None:
    layout = Layout(chunk, links_max)
    height = layout.height(size_bytes)
    if height:
        parts = layout.parts(size_bytes, height)
        assert size_bytes == sum(parts)
        assert 2 <= len(parts) <= links_max
        assert {chunk * links_max ** (height - 1)} == set(parts[:-1])


def test_short_reads_do_not_change_the_cut() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 3) if size and size > 0 else size)

    data = squeeze("pdfed", 50)
    assert Blocks().add(data, SMALL) == put_file(Trickle(data), lambda _: None, SMALL)


def test_directories_are_sorted_by_the_bytes_of_their_names() -> None:
    blocks = Blocks()
    entries = [
        Link(blocks.add(squeeze(f"Ünï/{name}", size)).cid, name, size)
        for name, size in (("\U00010000", 5), ("a.b", 3), ("\uffff", 4), ("Z", 1), ("a", 2))
    ]
    link = put_directory(entries, blocks.put)
    assert cid_text(link.cid) == "bafybeie5gzpbbchqtqynsgszgredqgfdihog6ubfdlvrzjikn7qmnqqj3a"
    assert link.tsize_bytes == 251
    assert [name for name, _ in children(Expected(link.cid), blocks[link.cid])] == [
        "Z",
        "a",
        "a.b",
        "\uffff",
        "\U00010000",
    ]


def test_an_entry_given_twice_is_refused() -> None:
    blocks = Blocks()
    leaf = blocks.raw(b"x")
    with pytest.raises(MalformedWeights, match="not unique"):
        put_directory([Link(leaf.cid, "a", 1), Link(leaf.cid, "a", 1)], blocks.put)


def chunks(blocks: Blocks, *sizes: int) -> tuple[Link, ...]:
    return tuple(blocks.raw(squeeze(str(index), size)) for index, size in enumerate(sizes))


def refuse(blocks: Blocks, expected: Expected, why: str, error: type[MalformedWeights] = MalformedWeights) -> None:
    with pytest.raises(error, match=why):
        blocks.read(expected, SMALL)


@pytest.mark.parametrize("cut", [(4,), (2, 2), (3, 4), (4, 4, 4, 4), (4, 0), (5, 4), (1, 4), (0,)])
def test_files_cut_in_another_way_are_refused(cut: tuple[int, ...]) -> None:
    blocks = Blocks()
    link = blocks.node(FileNode(chunks(blocks, *cut), cut))
    refuse(blocks, Expected(link.cid), "where one chunk would do|not cut as the profile says|wrong height")


def test_a_chunk_shorter_than_its_parent_says_is_refused() -> None:
    blocks = Blocks()
    first, second = chunks(blocks, 4, 1)
    refuse(blocks, Expected(blocks.node(FileNode((first, second), (4, 2))).cid), "two sizes, 1 and 2")
    lying = Link(second.cid, "", 2)
    refuse(blocks, Expected(blocks.node(FileNode((first, lying), (4, 2))).cid), "1 bytes where its parent says 2")


def test_a_node_with_other_size_than_its_parent_says_is_refused() -> None:
    blocks = Blocks()
    twelve = blocks.node(FileNode(chunks(blocks, 4, 4, 4), (4, 4, 4)))
    one = blocks.node(FileNode(chunks(blocks, 1), (1,)))
    assert len(blocks.read(Expected(blocks.node(FileNode((twelve, one), (12, 1))).cid), SMALL)) == 13
    root = blocks.node(FileNode((twelve, one), (12, 2)))
    refuse(blocks, Expected(root.cid), "a part of 1 bytes where its parent says 2")


def test_a_node_where_a_chunk_belongs_and_the_reverse_are_refused() -> None:
    blocks = Blocks()
    twelve = blocks.node(FileNode(chunks(blocks, 4, 4, 4), (4, 4, 4)))
    (leaf,) = chunks(blocks, 1)
    refuse(blocks, Expected(blocks.node(FileNode((twelve, leaf), (12, 1))).cid), "wrong height")
    refuse(blocks, Expected(blocks.node(FileNode((twelve, leaf), (4, 1))).cid), "wrong height")


def test_a_directory_inside_a_file_is_refused() -> None:
    blocks = Blocks()
    twelve = blocks.node(FileNode(chunks(blocks, 4, 4, 4), (4, 4, 4)))
    folder = blocks.node(DirectoryNode(()))
    refuse(blocks, Expected(blocks.node(FileNode((twelve, folder), (12, 1))).cid), "a directory inside a file")


def test_a_tree_of_other_size_than_its_parent_says_is_refused() -> None:
    blocks = Blocks()
    file = blocks.add(squeeze("pdfed", 13), SMALL)
    honest = blocks.node(DirectoryNode((Link(file.cid, "a", file.tsize_bytes),)))
    assert len(blocks.read(Expected(honest.cid), SMALL)) == 13
    for lie in (0, file.tsize_bytes - 1, file.tsize_bytes + 1):
        folder = blocks.node(DirectoryNode((Link(file.cid, "a", lie),)))
        refuse(blocks, Expected(folder.cid), f"a tree of {file.tsize_bytes} bytes where its parent says {lie}")


def test_a_chunk_beyond_the_chunk_size_is_refused() -> None:
    blocks = Blocks()
    refuse(blocks, Expected(blocks.raw(b"12345").cid), "a chunk of 5 bytes")


def test_directories_nest_sixteen_deep_and_no_deeper() -> None:
    blocks = Blocks()
    link = blocks.node(DirectoryNode(()))
    for _ in range(15):
        link = blocks.node(DirectoryNode((Link(link.cid, "d", link.tsize_bytes),)))
    assert blocks.read(Expected(link.cid), SMALL) == b""
    deeper = blocks.node(DirectoryNode((Link(link.cid, "d", link.tsize_bytes),)))
    refuse(blocks, Expected(deeper.cid), "nested deeper than 16", WeightsTooLarge)


def test_a_file_of_more_than_three_levels_is_refused() -> None:
    blocks = Blocks()
    link = blocks.add(squeeze("pdfed", 4 * 3**3 + 1), SMALL)
    refuse(blocks, Expected(link.cid), "a file of 109 bytes", WeightsTooLarge)


def test_a_folder_that_claims_exabytes_is_as_large_as_it_claims() -> None:
    blocks = Blocks()
    leaf = blocks.raw(b"x")
    folder = blocks.node(DirectoryNode((Link(leaf.cid, "a", 2**60),)))
    assert tree_size_bytes(blocks[folder.cid]) > 2**60


def test_the_empty_directory_has_no_children() -> None:
    blocks = Blocks()
    folder = put_directory([], blocks.put)
    assert parse_cid("bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354") == folder.cid
    assert children(Expected(folder.cid), blocks[folder.cid]) == ()
