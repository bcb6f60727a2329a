"""A node that only observes runs where torch is not installed, and follows the chain."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.config import NodeRole
from node.multiaddress import free_ports
from node.new_home import create_home
from pdfedchain.store.sqlite import SqliteStore
from tests.support.home_chain import HomeChain

pytestmark = pytest.mark.e2e

#: Shadows torch and diffusers for a process that finds it first: any import of them ends that process.
NO_TORCH = 'raise ImportError("not installed here")\n'


def height_of(database: Path) -> int:
    if not database.exists():
        return 0
    store = SqliteStore.open_read_only(database)
    try:
        return store.height()
    finally:
        store.close()


def test_an_observer_without_torch_follows_the_chain(tmp_path: Path) -> None:
    chain = HomeChain(tmp_path / "alice")
    chain.register()
    chain.close()
    port, own_port = free_ports(2)
    config = chain.home.config_path
    config.write_text(config.read_text().replace(', "trainer"', "").replace("/tcp/4610", f"/tcp/{port}"))
    address = chain.home.card().dial.replace("/tcp/4610", f"/tcp/{port}")

    observer, _ = create_home(
        tmp_path / "olga", name="olga", roles=(NodeRole.OBSERVER,), listen=f"/ip4/127.0.0.1/tcp/{own_port}"
    )
    shutil.copy(chain.home.genesis_path, observer.genesis_path)
    text = observer.config_path.read_text()
    assert "peers = []" in text
    observer.config_path.write_text(text.replace("peers = []", f'peers = ["{address}"]'))
    shadow = tmp_path / "shadow"
    for package in ("torch", "diffusers"):
        (shadow / package).mkdir(parents=True)
        (shadow / package / "__init__.py").write_text(NO_TORCH)

    processes = []
    try:
        for home, path in ((chain.home, ""), (observer, str(shadow))):
            with (home.path / "stderr").open("w") as log:
                command = [sys.executable, "-m", "node", "run", "--home", str(home.path)]
                environment = {**os.environ, "PYTHONPATH": path}
                processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        end = time.monotonic() + 60
        while height_of(observer.chain_db) < 3:
            assert time.monotonic() < end, (observer.path / "stderr").read_text()
            assert all(process.poll() is None for process in processes), (observer.path / "stderr").read_text()
            time.sleep(0.2)
        processes[1].send_signal(signal.SIGTERM)
        assert processes[1].wait(timeout=20) == 0
    finally:
        for process in processes:
            process.kill()
            process.wait()
