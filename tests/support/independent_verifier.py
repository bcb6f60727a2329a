"""A verifier of light bundles written from docs/spec alone: it imports nothing of the project.

It is what the specification has to be precise enough for. Errors are assertions: there is one kind, "no".
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EMPTY = bytes(32)


def tagged(tag: str, *parts: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(tag.encode()).digest() + b"".join(parts)).digest()


def decode(data: bytes, tag: str) -> list[Any]:
    raw = msgpack.unpackb(data, raw=False, use_list=True, max_ext_len=0, max_map_len=0)
    assert msgpack.packb(raw, use_bin_type=True) == data, "not canonical"
    assert raw[0] == tag, "another type"
    fields: list[Any] = raw
    return fields


def hash_of(record: list[Any]) -> bytes:
    return tagged(record[0], msgpack.packb(record, use_bin_type=True))


def path_bit(path: bytes, depth: int) -> int:
    return path[depth // 8] >> (7 - depth % 8) & 1


def tree_root(items: list[tuple[bytes, bytes]], depth: int = 0) -> bytes:
    """Root of the subtree of these (path, leaf hash) that lies below ``depth`` branches."""
    if not items:
        return EMPTY
    if len(items) == 1:
        return items[0][1]
    sides: tuple[list[tuple[bytes, bytes]], ...] = ([], [])
    for path, leaf in items:
        sides[path_bit(path, depth)].append((path, leaf))
    return tagged("pdfed/state/branch/v1", tree_root(sides[0], depth + 1), tree_root(sides[1], depth + 1))


def path_of(key: bytes) -> bytes:
    return tagged("pdfed/state/key/v1", key)


def leaf_hash(key: bytes, value: bytes) -> bytes:
    return tagged("pdfed/state/leaf/v1", path_of(key), tagged("pdfed/state/value/v1", value))


def root_of(contents: dict[bytes, bytes]) -> bytes:
    return tree_root([(path_of(key), leaf_hash(key, value)) for key, value in contents.items()])


def check_proof(root: bytes, key: bytes, value: bytes | None, proof: list[Any]) -> None:
    tag, siblings, leaf_path, leaf_value_hash = proof
    assert tag == "pdfed/state-proof/v1"
    assert len(siblings) <= 256
    path = path_of(key)
    if value is None:
        assert leaf_path != path
        if leaf_path is not None:
            assert all(path_bit(leaf_path, depth) == path_bit(path, depth) for depth in range(len(siblings)))
    else:
        assert leaf_path == path
        assert leaf_value_hash == tagged("pdfed/state/value/v1", value)
    assert (leaf_path is None) == (leaf_value_hash is None)
    current = EMPTY if leaf_path is None else tagged("pdfed/state/leaf/v1", leaf_path, leaf_value_hash)
    for depth in reversed(range(len(siblings))):
        pair = (siblings[depth], current) if path_bit(path, depth) else (current, siblings[depth])
        current = tagged("pdfed/state/branch/v1", *pair)
    assert current == root


def check_cut(root: bytes, parts: list[tuple[int, bytes]]) -> None:
    stack: list[tuple[int, bytes]] = []
    at = 0
    for part in parts:
        assert at % 2 ** (256 - part[0]) == 0
        assert at < 2**256
        at += 2 ** (256 - part[0])
        stack.append(part)
        while len(stack) > 1 and stack[-1][0] == stack[-2][0]:
            (depth, right), (_, left) = stack.pop(), stack.pop()
            stack.append((depth - 1, tagged("pdfed/state/branch/v1", left, right)))
    assert at == 2**256
    assert stack == [(0, root)]


def check_certificate(certificate: list[Any], header: list[Any], authorities: list[Any]) -> None:
    tag, chain_id, set_id, height, round_, kind, block, signatures = certificate
    set_tag, own_set_id, members = authorities
    assert set_tag == "pdfed/authorities/v1"
    assert tag == "pdfed/certificate/v1"
    assert (chain_id, height, kind, block) == (header[2], header[3], 2, hash_of(header))
    assert set_id == own_set_id
    voters = [voter for _, voter, _ in signatures]
    assert voters == sorted(set(voters))
    assert set(voters) <= set(members)
    assert 3 * len(voters) > 2 * len(members)
    statement = msgpack.packb(["pdfed/vote-statement/v1", chain_id, set_id, height, round_, kind, block])
    for tag, voter, signature in signatures:
        assert tag == "pdfed/certificate-signature/v1"
        Ed25519PublicKey.from_public_bytes(voter).verify(signature, statement)


def verify_bundle(data: bytes, trusted: bytes) -> tuple[int, dict[bytes, bytes | None]]:
    """Height, and what the state after that block has under the keys of the bundle. Clocks are left to the reader."""
    _, anchor, blocks, values = decode(data, "pdfed/light-bundle/v1")
    root: bytes | None
    if anchor[0] == "pdfed/genesis/v1":
        assert hash_of(anchor) == trusted
        chain_id, time_ms, authorities = anchor[1], anchor[2], anchor[4]
        height, parent, root = 0, trusted, None
    else:
        assert anchor[0] == "pdfed/header-anchor/v1"
        _, header, authorities = anchor
        assert hash_of(header) == trusted
        assert hash_of(authorities) == header[11]
        chain_id, height, time_ms, parent, root = header[2], header[3], header[5], trusted, header[9]
    for tag, header, certificate, following in blocks:
        assert (tag, header[0], header[2]) == ("pdfed/light-block/v1", "pdfed/header/v1", chain_id)
        assert header[3] > height
        assert header[5] > time_ms
        assert header[3] > height + 1 or header[6] == parent
        assert header[10] == hash_of(authorities)
        check_certificate(certificate, header, authorities)
        if header[11] == header[10]:
            assert following is None
        else:
            assert hash_of(following) == header[11]
            assert following[1] > authorities[1]
            authorities = following
        height, time_ms, parent, root = header[3], header[5], hash_of(header), header[9]
    found: dict[bytes, bytes | None] = {}
    for tag, key, value, proof in values:
        assert tag == "pdfed/value-proof/v1"
        assert root is not None
        check_proof(root, key, value, proof)
        found[key] = value
    return height, found
