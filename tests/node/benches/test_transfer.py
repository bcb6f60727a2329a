"""The transfer bench, small, between real processes; one of them is killed in the middle."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from node.benches import transfer_process
from node.benches.transfer import bench_transfer
from node.host.interface import Stream
from node.host.libp2p_host import open_host
from node.weights.serve import WeightsServer
from node.weights.store import WeightsStore
from pdfedchain.ids import cid_text


def test_every_figure_is_there_and_a_killed_fetch_goes_on_where_it_was() -> None:
    figures = {figure.name: figure for figure in bench_transfer((24_000_000,), 1)}
    assert list(figures) == [
        "24 MB folder beside libp2p's bare stream",
        "24 MB folder beside our bare stream",
        "24 MB folder beside our bare stream into a file",
        "beside py-libp2p's Bitswap",
        "three sources",
        "24 MB folder, memory of who fetches",
        "24 MB folder, memory of who serves",
        "small frame there and back during a fetch, median",
        "small frame there and back during a fetch, 99th percentile",
        "fetched again after a kill",
        "through a line of 50 Mbit/s",
    ]
    assert all(figure.value > 0 for name, figure in figures.items() if name != "fetched again after a kill")
    assert figures["through a line of 50 Mbit/s"].value < 55
    assert figures["fetched again after a kill"].value == 0
    # Killed in the middle indeed: some blocks were there, and not all.
    words = figures["fetched again after a kill"].reference.split()
    assert 0 < int(words[0]) <= int(words[2]) == 23 + 2  # chunks, file, folder


async def test_a_round_trip_is_measured_however_quick_the_fetch_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_process, "_TRIPS_S", 0.0)
    fetched = trio.Event()

    async def echo_late(stream: Stream) -> None:
        frame = await stream.receive_frame(1_000)
        await fetched.wait()
        await stream.send_frame(frame)
        await trio.sleep_forever()

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "weights").write_bytes(b"small")
    origin = WeightsStore(tmp_path / "origin")
    cid = origin.add_folder(tmp_path / "folder")
    async with open_host(b"c" * 32) as client, open_host(b"s" * 32) as server:
        server.set_stream_handler(transfer_process.ECHO, echo_late)
        WeightsServer(origin).attach(server)
        await client.connect(server.addresses[0])
        command = {
            "cid": cid_text(cid),
            "store": str(tmp_path / "own"),
            "addresses": [server.addresses[0]],
            "address": server.addresses[0],
            "votes": True,
        }
        answers = []
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:

                async def measure() -> None:
                    answers.append(await transfer_process._fetch(client, origin, command))

                nursery.start_soon(measure)
                while not (tmp_path / "own").exists() or not WeightsStore(tmp_path / "own").complete(cid):
                    await trio.sleep(0.01)
                fetched.set()
            answers.append(await transfer_process._trips(client, origin, command))
        assert [len(answer["trips_ms"]) for answer in answers] == [1, 1]
