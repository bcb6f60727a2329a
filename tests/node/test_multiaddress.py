"""Addresses that people type."""

import socket

import pytest

from node.multiaddress import HostPort, free_ports, parse_multiaddress
from pdfedchain.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected", "wildcard"),
    [
        ("/ip4/127.0.0.1/tcp/4610", HostPort("ip4", "127.0.0.1", 4610), False),
        ("/ip4/0.0.0.0/tcp/1", HostPort("ip4", "0.0.0.0", 1), True),
        ("/ip6/::1/tcp/65535", HostPort("ip6", "::1", 65_535), False),
        ("/ip6/::/tcp/4610", HostPort("ip6", "::", 4610), True),
        ("/dns4/node.example/tcp/4610", HostPort("dns4", "node.example", 4610), False),
    ],
)
def test_addresses(text: str, expected: HostPort, wildcard: bool) -> None:
    assert expected == parse_multiaddress(text, "--listen")
    assert wildcard == expected.is_wildcard


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:4610",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/4610",
        "/ip4/127.0.0.1/tcp/0",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/-1",
        "/ip4/127.0.0.1/tcp/4610/p2p/x",
        "/ip4/localhost/tcp/4610",
        "/ip4/::1/tcp/4610",
        "/ip6/127.0.0.1/tcp/4610",
        "/unix/socket/tcp/4610",
        "/dns4//tcp/4610",
        "/ip4/127.0.0.1/tcp/٤",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"--listen must look like /ip4/127\.0\.0\.1/tcp/4610"):
        parse_multiaddress(text, "--listen")


def test_free_ports_are_distinct_and_free() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", ports[0]))
