"""Peer ids without libp2p are the ones libp2p computes; and the interface costs no network stack."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from node.host.identity import check_peer_id, peer_id_of_seed
from pdfedchain.errors import DecodeError


@given(st.binary(min_size=32, max_size=32))
def test_the_peer_id_is_the_one_libp2p_computes(seed: bytes) -> None:
    expected = str(ID.from_pubkey(create_new_key_pair(seed).public_key))
    assert peer_id_of_seed(seed) == expected
    assert check_peer_id(expected) == expected


KNOWN = peer_id_of_seed(b"a" * 32)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "0OIl",
        KNOWN[:-1],
        KNOWN + "1",
        "1" + KNOWN,
        KNOWN[1:],
        KNOWN.replace("12D3", "12D4"),
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "z" * 64,
        "z" * 1_000_000,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        check_peer_id(text)


def test_importing_the_interface_imports_no_network_stack() -> None:
    program = (
        "import sys, node, node.host, node.host.interface, node.host.identity, node.channel, node.peers, "
        "node.memory_host; sys.exit(any(name.partition('.')[0] in ('libp2p', 'torch', 'diffusion') "
        "for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
