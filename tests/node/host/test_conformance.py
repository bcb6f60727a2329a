"""What every host does: the same tests for libp2p and for memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise

import pytest
import trio

from node.host.identity import peer_id_of_seed
from node.host.interface import (
    DialFailed,
    FrameTooLarge,
    Host,
    HostLimits,
    InvalidAddress,
    MessageTooLarge,
    NotConnected,
    PortTaken,
    ProtocolRefused,
    Stream,
    StreamClosed,
)
from pdfedchain.errors import DecodeError, InputError, InvalidTransaction
from tests.node.host.hosts import KINDS, Opener, echo, opener, until

PROTOCOL = "/test/1"


@pytest.fixture(params=KINDS)
def open_one(request: pytest.FixtureRequest) -> Opener:
    return opener(request.param)


@asynccontextmanager
async def pair(open_one: Opener, limits: HostLimits | None = None) -> AsyncIterator[tuple[Host, Host]]:
    """Two connected hosts; the second echoes."""
    async with open_one(1, limits=limits) as one, open_one(2, limits=limits) as two:
        two.set_stream_handler(PROTOCOL, echo)
        await one.connect(two.addresses[0])
        yield one, two


async def test_identity_follows_from_the_seed(open_one: Opener) -> None:
    async with open_one(7) as host:
        assert peer_id_of_seed(bytes([7]) * 32) == host.peer_id
        assert all(address.endswith("/p2p/" + host.peer_id) for address in host.addresses)


async def test_connecting_is_seen_on_both_sides_and_connecting_again_is_nothing(open_one: Opener) -> None:
    async with open_one(1) as one, open_one(2) as two:
        assert two.peer_id == await one.connect(two.addresses[0])
        assert two.peer_id == await one.connect(two.addresses[0])
        await until(lambda: one.peer_id in two.connected_peers())
        assert {two.peer_id} == one.connected_peers()


async def test_two_hosts_that_dial_each_other_at_once_are_connected(open_one: Opener) -> None:
    async with open_one(1) as one, open_one(2) as two:
        one.set_stream_handler(PROTOCOL, echo)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.connect, two.addresses[0])
            nursery.start_soon(two.connect, one.addresses[0])
        async with await two.open_stream(one.peer_id, PROTOCOL) as stream:
            await stream.send_frame(b"here")
            assert await stream.receive_frame(10) == b"here"


@pytest.mark.parametrize("size_bytes", [0, 1, 65_507, 65_508, 2_500_000])
async def test_frames_come_back_as_they_were_sent(open_one: Opener, size_bytes: int) -> None:
    frame = bytes(range(256)) * (size_bytes // 256 + 1)
    async with pair(open_one) as (one, two), await one.open_stream(two.peer_id, PROTOCOL) as stream:
        assert (two.peer_id, PROTOCOL) == (stream.peer_id, stream.protocol)
        await stream.send_frame(frame[:size_bytes])
        assert frame[:size_bytes] == await stream.receive_frame(size_bytes)


async def test_bytes_can_be_sent_without_frames(open_one: Opener) -> None:
    async with pair(open_one) as (one, two), await one.open_stream(two.peer_id, PROTOCOL) as stream:
        await stream.write(b"\0\0\0\3ab")
        await stream.write(b"c")
        assert await stream.read_exactly(7) == b"\0\0\0\3abc"


async def test_frames_of_several_tasks_do_not_mix(open_one: Opener) -> None:
    async with pair(open_one) as (one, two), await one.open_stream(two.peer_id, PROTOCOL) as stream:
        frames = [bytes([n]) * (200_000 if n % 2 else 50) for n in range(8)]
        async with trio.open_nursery() as nursery:
            for frame in frames:
                nursery.start_soon(stream.send_frame, frame)
            received = [await stream.receive_frame(200_000) for _ in frames]
        assert sorted(frames) == sorted(received)


async def test_a_read_that_times_out_loses_nothing(open_one: Opener) -> None:
    async def slow(stream: Stream) -> None:
        await stream.write(b"\0\0\0")
        await stream.receive_frame(1)
        await stream.write(b"\5hello")

    async with open_one(1) as one, open_one(2) as two:
        two.set_stream_handler(PROTOCOL, slow)
        await one.connect(two.addresses[0])
        async with await one.open_stream(two.peer_id, PROTOCOL) as stream:
            with trio.move_on_after(0.05) as scope:
                await stream.receive_frame(10)
            assert scope.cancelled_caught
            await stream.send_frame(b"")
            assert await stream.receive_frame(10) == b"hello"


async def test_a_frame_above_the_limit_resets_the_stream(open_one: Opener) -> None:
    async with pair(open_one) as (one, two), await one.open_stream(two.peer_id, PROTOCOL) as stream:
        await stream.send_frame(bytes(101))
        with pytest.raises(FrameTooLarge, match="101 bytes, above the limit of 100"):
            await stream.receive_frame(100)
        with pytest.raises(StreamClosed):
            await stream.send_frame(b"more")


async def test_the_end_of_a_stream_between_frames_is_clean(open_one: Opener) -> None:
    async def one_frame(stream: Stream) -> None:
        await stream.send_frame(b"only")

    async with open_one(1) as one, open_one(2) as two:
        two.set_stream_handler(PROTOCOL, one_frame)
        await one.connect(two.addresses[0])
        stream = await one.open_stream(two.peer_id, PROTOCOL)
        assert await stream.receive_frame(10) == b"only"
        with pytest.raises(StreamClosed) as caught:
            await stream.receive_frame(10)
        assert caught.value.clean


async def test_the_end_of_a_stream_inside_a_frame_is_not_clean(open_one: Opener) -> None:
    async def half_a_frame(stream: Stream) -> None:
        await stream.write(b"\0\0\0\6half")

    async with open_one(1) as one, open_one(2) as two:
        two.set_stream_handler(PROTOCOL, half_a_frame)
        await one.connect(two.addresses[0])
        stream = await one.open_stream(two.peer_id, PROTOCOL)
        with pytest.raises(StreamClosed) as caught:
            await stream.receive_frame(10)
        assert not caught.value.clean


async def test_a_closed_stream_can_no_longer_be_used(open_one: Opener) -> None:
    async with pair(open_one) as (one, two):
        stream = await one.open_stream(two.peer_id, PROTOCOL)
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(StreamClosed):
            await stream.send_frame(b"")
        with pytest.raises(StreamClosed):
            await stream.receive_frame(1)


async def test_cancelling_a_sender_whose_peer_does_not_read_ends_the_stream_and_nothing_else(open_one: Opener) -> None:
    async def never_read(stream: Stream) -> None:
        await trio.sleep_forever()

    async with pair(open_one) as (one, two):
        two.set_stream_handler("/deaf/1", never_read)
        deaf = await one.open_stream(two.peer_id, "/deaf/1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deaf.send_frame, bytes(12_000_000))
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        with pytest.raises(StreamClosed):
            await deaf.send_frame(b"more")
        async with await one.open_stream(two.peer_id, PROTOCOL) as stream:
            await stream.send_frame(b"still here")
            assert await stream.receive_frame(20) == b"still here"


class Faults:
    def __init__(self, host: Host) -> None:
        self.reasons: list[str] = []
        host.set_fault_listener(lambda peer_id, reason: self.reasons.append(reason))


@pytest.mark.parametrize(
    ("error", "faults", "counter"),
    [
        (ValueError("our bug"), 0, "stream_handler_errors"),
        (InputError("nonsense"), 1, "stream_input_errors"),
        (ExceptionGroup("of a nursery", [InputError("a"), InputError("b")]), 2, "stream_input_errors"),
        (StreamClosed("somebody"), 0, "stream_ended_early"),
        (FrameTooLarge("somebody", 2, 1), 1, "stream_ended_early"),
    ],
)
async def test_what_a_handler_raises_resets_its_stream_and_stops_nothing(
    open_one: Opener, error: Exception, faults: int, counter: str
) -> None:
    async def fail(stream: Stream) -> None:
        await stream.receive_frame(10)
        raise error

    async with pair(open_one) as (one, two):
        listener = Faults(two)
        two.set_stream_handler("/fail/1", fail)
        stream = await one.open_stream(two.peer_id, "/fail/1")
        await stream.send_frame(b"go")
        with pytest.raises(StreamClosed):
            await stream.receive_frame(10)
        assert (faults, 1) == (len(listener.reasons), two.counters[counter])
        async with await one.open_stream(two.peer_id, PROTOCOL) as other:
            await other.send_frame(b"alive")
            assert await other.receive_frame(10) == b"alive"


async def test_a_protocol_nobody_serves_is_refused(open_one: Opener) -> None:
    async with pair(open_one) as (one, two):
        with pytest.raises(ProtocolRefused, match="does not open /unknown/1"):
            await one.open_stream(two.peer_id, "/unknown/1")


async def test_a_stream_needs_a_connection(open_one: Opener) -> None:
    async with open_one(1) as one, open_one(2) as two:
        with pytest.raises(NotConnected):
            await one.open_stream(two.peer_id, PROTOCOL)


async def test_disconnecting_ends_streams_on_both_sides(open_one: Opener) -> None:
    async with pair(open_one) as (one, two):
        stream = await one.open_stream(two.peer_id, PROTOCOL)
        await stream.send_frame(b"x")
        await stream.receive_frame(1)
        await two.disconnect(one.peer_id)
        with pytest.raises(StreamClosed):
            await stream.receive_frame(10)
        await until(lambda: not one.connected_peers() and not two.connected_peers())
        await one.disconnect(two.peer_id)


async def test_a_peer_that_has_gone_is_noticed_and_can_be_dialled_when_it_is_back(open_one: Opener) -> None:
    async with open_one(1) as one:
        async with open_one(2) as two:
            address = two.addresses[0]
            await one.connect(address)
        await until(lambda: not one.connected_peers())
        with pytest.raises(DialFailed):
            await one.connect(address)
        async with open_one(2, listen=address.partition("/p2p/")[0]) as two:
            assert two.peer_id == await one.connect(address)


async def test_dialling_somebody_else_than_the_address_names_fails(open_one: Opener) -> None:
    async with open_one(1) as one, open_one(2) as two:
        elsewhere = two.addresses[0].partition("/p2p/")[0] + "/p2p/" + peer_id_of_seed(bytes([3]) * 32)
        with pytest.raises(DialFailed):
            await one.connect(elsewhere)
        assert frozenset() == one.connected_peers()


@pytest.mark.parametrize("text", ["", "nonsense", "/ip4/127.0.0.1/tcp/1", "/memory/1", "/ip4/127.0.0.1/tcp/1/p2p/12D3"])
async def test_addresses_that_name_no_peer_are_refused(open_one: Opener, text: str) -> None:
    async with open_one(1) as one:
        with pytest.raises(InvalidAddress):
            await one.connect(text)


async def test_a_host_does_not_dial_itself(open_one: Opener) -> None:
    async with open_one(1) as one:
        with pytest.raises(InvalidAddress, match="our own"):
            await one.connect(one.addresses[0])


async def test_a_taken_port_is_an_error_that_names_it(open_one: Opener) -> None:
    async with open_one(1) as one:
        taken = one.addresses[0].partition("/p2p/")[0]
        with pytest.raises(PortTaken, match="another program listens on " + taken):
            async with open_one(2, listen=taken):
                pass


async def test_an_address_nobody_can_listen_on_is_refused(open_one: Opener) -> None:
    with pytest.raises(InvalidAddress):
        async with open_one(1, listen="/dns4/localhost/udp/7"):
            pass


async def test_what_the_user_of_a_host_raises_comes_out_as_it_is(open_one: Opener) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_one(1):
            raise KeyError("mine")


async def test_a_banned_peer_is_disconnected_and_cannot_come_back_for_a_while(open_one: Opener) -> None:
    async with pair(open_one) as (one, two):
        await two.ban(one.peer_id, 3.0)
        await until(lambda: not one.connected_peers())
        # The dialler of a libp2p connection may learn only afterwards that it is not wanted.
        with suppress(DialFailed):
            await one.connect(two.addresses[0])
        await until(lambda: not one.connected_peers())
        assert frozenset() == two.connected_peers()
        with trio.fail_after(60):
            while one.peer_id not in two.connected_peers():
                await trio.sleep(0.2)
                with suppress(DialFailed):
                    await one.connect(two.addresses[0])


async def line(stack: AsyncExitStack, open_one: Opener, length: int) -> list[Host]:
    """Hosts of which each is connected to the next."""
    hosts = [await stack.enter_async_context(open_one(n + 1)) for n in range(length)]
    for host, following in pairwise(hosts):
        await host.connect(following.addresses[0])
    return hosts


async def test_gossip_reaches_everybody_once_and_never_the_publisher(open_one: Opener) -> None:
    async with AsyncExitStack() as stack:
        hosts = await line(stack, open_one, 3)
        received: list[list[bytes]] = [[], [], []]
        for host, messages in zip(hosts, received, strict=True):
            await host.subscribe("/topic", lambda peer_id, data, to=messages: to.append(data) is None)
        await hosts[0].publish("/topic", b"first")
        await until(lambda: all(received[1:]))
        await hosts[2].publish("/topic", b"second")
        await until(lambda: bool(received[0]))
        await until(lambda: len(received[1]) == 2)
        assert received == [[b"second"], [b"first", b"second"], [b"first"]]


async def test_gossip_that_is_not_accepted_goes_no_further(open_one: Opener) -> None:
    async with AsyncExitStack() as stack:
        hosts = await line(stack, open_one, 3)
        received: list[bytes] = []
        await hosts[0].subscribe("/topic", lambda peer_id, data: True)
        await hosts[1].subscribe("/topic", lambda peer_id, data: data != b"bad")
        await hosts[2].subscribe("/topic", lambda peer_id, data: received.append(data) is None)
        await hosts[0].publish("/topic", b"good")
        await until(lambda: received == [b"good"])
        await hosts[0].publish("/topic", b"bad")
        await until(lambda: hosts[1].counters["gossip_rejected"] == 1)
        await hosts[0].publish("/topic", b"fine")
        await until(lambda: received == [b"good", b"fine"])


async def test_a_receiver_of_gossip_that_raises_stops_nothing(open_one: Opener) -> None:
    received: list[bytes] = []

    def accept(peer_id: str, data: bytes) -> bool:
        if data == b"bug":
            raise ValueError("our bug")
        if data == b"malformed":
            raise DecodeError("not what it should be")
        if data == b"late":
            raise InvalidTransaction("nonce", "was valid elsewhere")
        received.append(data)
        return True

    async with pair(open_one) as (one, two):
        listener = Faults(two)
        await one.subscribe("/topic", accept)
        await two.subscribe("/topic", accept)
        await one.publish("/topic", b"malformed")
        await until(lambda: bool(listener.reasons))
        await one.publish("/topic", b"late")
        await until(lambda: two.counters["gossip_rejected"] == 2)
        await one.publish("/topic", b"bug")
        await until(lambda: two.counters["gossip_validator_errors"] == 1)
        await one.publish("/topic", b"fine")
        await until(lambda: received == [b"fine"])
        assert listener.reasons == ["gossip message: not what it should be"]


async def test_gossip_above_the_limit_is_refused_to_its_publisher(open_one: Opener) -> None:
    limits = HostLimits(gossip_size_bytes_max=100)
    async with pair(open_one, limits) as (one, _):
        with pytest.raises(MessageTooLarge, match="101 bytes is above the limit of 100"):
            await one.publish("/topic", bytes(101))


async def test_a_host_is_found_by_what_it_has_and_not_by_itself(open_one: Opener) -> None:
    content, nothing = b"\x01\x70\x12\x20" + bytes(32), b"\x01\x70\x12\x20" + bytes(31) + b"\x01"
    async with open_one(1) as has, open_one(2) as between, open_one(3) as wants:
        await has.connect(between.addresses[0])
        await wants.connect(between.addresses[0])
        has.provide(content)
        with trio.fail_after(60):
            while not (found := await wants.find_providers(content)):
                await trio.sleep(0.1)
        assert found == has.addresses
        assert await has.find_providers(content) == ()
        assert await wants.find_providers(nothing) == ()


async def test_a_peer_has_a_bounded_number_of_streams_and_gets_places_back(open_one: Opener) -> None:
    limit = 8
    async with pair(open_one, HostLimits(streams_inbound_per_peer_max=limit)) as (one, two):
        streams: list[Stream] = []

        async def open_one_too_many() -> None:
            while len(streams) <= limit:
                streams.append(await one.open_stream(two.peer_id, PROTOCOL))

        with pytest.raises(ProtocolRefused):
            await open_one_too_many()
        assert 0 < len(streams) <= limit
        assert two.counters["streams_refused"] == 1
        for stream in streams:
            await stream.reset()
        with trio.fail_after(30):
            while True:
                with suppress(ProtocolRefused):
                    streams.append(await one.open_stream(two.peer_id, PROTOCOL))
                    break
                await trio.sleep(0.05)


async def test_a_host_has_a_bounded_number_of_connections_and_gives_places_back(open_one: Opener) -> None:
    async with (
        open_one(1, limits=HostLimits(connections_inbound_max=1)) as host,
        open_one(2) as first,
        open_one(3, limits=HostLimits(dial_timeout_s=2.0)) as second,
    ):
        await first.connect(host.addresses[0])
        with pytest.raises(DialFailed):
            await second.connect(host.addresses[0])
        assert first.peer_id in host.connected_peers()
        await first.disconnect(host.peer_id)
        with trio.fail_after(60):
            while True:
                with suppress(DialFailed):
                    await second.connect(host.addresses[0])
                    break
                await trio.sleep(0.05)
        assert second.peer_id in host.connected_peers()
