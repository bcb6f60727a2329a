"""A testnet without its nodes: homes and ports, watching chains that lie there, processes that sleep, die or cling."""

import json
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.__main__ import main
from node.config import NodeRole
from node.errors import JobRefused
from node.genesis_file import GenesisFile
from node.home import Home
from node.new_genesis import GenesisPlan
from node.testnet.interruption import Interruption
from node.testnet.processes import NodeProcess, node_command, start_nodes, stop_nodes
from node.testnet.run import Ending, TestnetFailed, best_checkpoint, report, run_testnet
from node.testnet.setup import TestnetPlan, check_ports, find_homes, make_homes, roles_of
from node.testnet.view import status_line
from node.testnet.watch import Snapshot, Watcher, heads_agree
from pdfedchain.errors import UsageError
from pdfedchain.ids import Hash, cid_text
from pdfedchain.types.checkpoint import Checkpoint
from tests.support.home_chain import HomeChain
from tests.support.waiting import wait_until

SLEEPER = "import sys; sys.stdin.read()"
CLINGER = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('clings', flush=True); time.sleep(60)"
)
DYING = "import sys; print('about to die'); print('of a broken heart', flush=True); sys.exit(7)"

AUTHORITY, TRAINER, EVALUATOR = NodeRole.AUTHORITY, NodeRole.TRAINER, NodeRole.EVALUATOR


def start(homes: list[Home], *programs: str) -> list[NodeProcess]:
    """Start Python programs in place of nodes; the last one for all further homes."""
    each = iter([*programs, *[programs[-1]] * len(homes)])
    return start_nodes(homes, lambda home: (sys.executable, "-c", next(each)))


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> HomeChain:
    """A chain with two settled checkpoints."""
    made = HomeChain(tmp_path_factory.mktemp("chain") / "node0")
    made.register()
    first = made.submit("first")
    made.settle(first)
    made.settle(made.submit("second", first))
    made.close()
    return made


@pytest.fixture
def homes(chain: HomeChain, tmp_path: Path) -> list[Home]:
    """Four copies of it."""
    for index in range(4):
        shutil.copytree(chain.home.path, tmp_path / "net" / f"node{index}")
    return [Home(tmp_path / "net" / f"node{index}") for index in range(4)]


@pytest.fixture
def no_processes_left() -> Iterator[list[NodeProcess]]:
    """Collects processes that must have ended by the end of the test."""
    started: list[NodeProcess] = []
    yield started
    assert [node.name for node in started if node.exit_status is None] == []


# Homes


def plan(directory: Path, nodes: int, steps: int | None = None) -> TestnetPlan:
    return TestnetPlan(directory, nodes, "digits", steps, Hash(b"\x12\x34\x56\x78" * 8))


def test_the_last_of_three_or_more_only_evaluates() -> None:
    assert [list(roles_of(i, 1)) for i in range(1)] == [[AUTHORITY, TRAINER]]
    assert [list(roles_of(i, 2)) for i in range(2)] == [[AUTHORITY, TRAINER]] * 2
    assert [list(roles_of(i, 3)) for i in range(3)] == [[AUTHORITY, TRAINER]] * 2 + [[AUTHORITY, EVALUATOR]]


def test_fresh_homes(tmp_path: Path) -> None:
    plans: list[GenesisPlan] = []

    def make_genesis(genesis_plan: GenesisPlan) -> GenesisFile:
        plans.append(genesis_plan)
        return GenesisFile.__new__(GenesisFile)  # not looked at

    homes = make_homes(plan(tmp_path / "net", 3, steps=77), make_genesis)
    assert [tmp_path / "net" / f"node{i}" for i in range(3)] == [home.path for home in homes]
    assert len({home.config().network.listen for home in homes}) == 3
    assert {77} == {home.config().training.steps for home in homes}
    (made,) = plans
    assert ("testnet-12345678", tuple(homes), tmp_path / "net") == (made.chain_id, made.homes, made.out)


def test_a_failed_genesis_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    def fail(_: GenesisPlan) -> GenesisFile:
        raise JobRefused("unknown data set")

    for _ in range(2):
        with pytest.raises(JobRefused):
            make_homes(plan(tmp_path / "net", 2), fail)
    assert list((tmp_path / "net").iterdir()) == []


def test_an_occupied_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    for directory, message, hint in (
        (tmp_path, "is not empty", "--resume"),
        (tmp_path / "x", "is not a folder", "new or empty"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            make_homes(plan(directory, 1), lambda _: pytest.fail("no genesis is made"))
        assert hint in caught.value.hint


def test_resuming_finds_the_homes(homes: list[Home]) -> None:
    directory = homes[0].path.parent
    assert [home.path for home in homes] == [home.path for home in find_homes(directory)]
    homes[2].genesis_path.unlink()
    with pytest.raises(UsageError, match="has no genesis"):
        find_homes(directory)
    homes[1].config_path.unlink()
    with pytest.raises(UsageError, match="is no home directory"):
        find_homes(directory)
    with pytest.raises(UsageError, match="holds no testnet"):
        find_homes(directory / "nowhere")


def test_a_port_that_is_taken_is_named(homes: list[Home]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = homes[2].config_path
        config.write_text(config.read_text().replace("/tcp/4610", f"/tcp/{port}"))
        with pytest.raises(UsageError, match=f"node2 cannot listen on /ip4/127.0.0.1/tcp/{port}"):
            check_ports([homes[2]])
    check_ports([homes[2]])


# Processes


def test_nodes_stop_when_asked_to(homes: list[Home], no_processes_left: list[NodeProcess]) -> None:
    nodes = start(homes, SLEEPER)
    no_processes_left += nodes
    assert [node.exit_status for node in nodes] == [None] * 4
    assert stop_nodes(nodes) == []
    assert [node.exit_status for node in nodes] == [-signal.SIGTERM] * 4


def test_a_node_that_clings_is_killed(homes: list[Home], no_processes_left: list[NodeProcess]) -> None:
    nodes = start(homes[:2], CLINGER, SLEEPER)
    no_processes_left += nodes
    wait_until(lambda: "clings" in "".join(nodes[0].log_tail()) or nodes[0].exit_status is not None)
    assert stop_nodes(nodes, timeout_s=0.3) == ["node0"]
    assert nodes[0].exit_status == -signal.SIGKILL


def test_no_node_runs_if_one_cannot_start(homes: list[Home], monkeypatch: pytest.MonkeyPatch) -> None:
    commands = iter([(sys.executable, "-c", SLEEPER), ("/nowhere/python",)])
    started: list[NodeProcess] = []
    monkeypatch.setattr(
        "node.testnet.processes.stop_nodes", lambda nodes: (started.extend(nodes), stop_nodes(nodes))[1]
    )
    with pytest.raises(FileNotFoundError):
        start_nodes(homes[:2], lambda _: next(commands))
    assert [node.exit_status for node in started] == [-signal.SIGTERM]


def test_nodes_are_run_as_users_run_them(homes: list[Home]) -> None:
    command = node_command(homes[0])
    assert (sys.executable, "-m", "node", "run", "--home", str(homes[0].path)) == command[:6]
    words = ["run", "--home", str(homes[0].path / "nowhere"), *command[6:]]
    assert main(words) == 2


# Watching


def test_a_snapshot(homes: list[Home], chain: HomeChain, no_processes_left: list[NodeProcess]) -> None:
    nodes = start(homes[:2], SLEEPER, DYING)
    no_processes_left += nodes
    activity = {
        "doing": [{"what": "training", "checkpoint": None, "stage": "train", "done": 3, "total": 12}],
        "gauges": {"peers": 3},
        "updated_ms": nodes[0].started_ms,
    }
    homes[0].activity_path.write_text(json.dumps(activity))
    homes[1].activity_path.write_text(json.dumps({**activity, "updated_ms": nodes[1].started_ms - 1}))
    wait_until(lambda: nodes[1].exit_status is not None)
    with Watcher(nodes) as watcher:
        snapshot = watcher.look()
        again = watcher.look()
    stop_nodes(nodes)
    assert snapshot == again
    height = chain.position.height - 1
    assert snapshot.chain is not None
    assert (height, 2, (height,)) == (snapshot.chain.height, snapshot.settled, snapshot.heights)
    assert [cid_text(checkpoint.weights) for checkpoint in _checkpoints(chain)] == [
        row["cid"] for row in snapshot.chain.checkpoints
    ]
    alive, dead = snapshot.nodes
    assert (alive.peers, alive.doing, alive.exit_status) == (3, ("training (train 25 %)",), None)
    assert (dead.peers, dead.doing, dead.exit_status) == (0, (), 7)
    line = status_line(snapshot, 12.3, 6)
    for part in ("12 s", f"height {height}", "settled 2/6", "node0 training", "node1 ENDED (7)"):
        assert part in line


def test_before_the_chain_begins(homes: list[Home], no_processes_left: list[NodeProcess]) -> None:
    homes[0].chain_db.unlink()
    homes[0].activity_path.write_text("not json")
    nodes = start(homes[:1], SLEEPER)
    no_processes_left += nodes
    with Watcher(nodes) as watcher:
        snapshot = watcher.look()
    stop_nodes(nodes)
    assert (snapshot.chain, snapshot.settled, snapshot.heights) == (None, 0, (-1,))
    assert "starting" in status_line(snapshot, 0, 6)


def test_heads(homes: list[Home], tmp_path: Path) -> None:
    assert heads_agree(homes)
    other = HomeChain(tmp_path / "other")
    other.register()
    other.close()
    assert not heads_agree([homes[0], other.home])
    assert not heads_agree([other.home, homes[0]])
    for _ in range(20):
        other.store = other.store.__class__(other.home.chain_db)
        other.block()
        other.close()
    assert not heads_agree([homes[0], other.home])


def test_a_node_far_behind(tmp_path: Path) -> None:
    ahead = HomeChain(tmp_path / "ahead")
    ahead.register()
    shutil.copytree(ahead.home.path, tmp_path / "behind")
    behind = Home(tmp_path / "behind")
    for lag in range(1, 12):
        ahead.block()
        assert (lag <= 10) == heads_agree([ahead.home, behind])
    ahead.close()


# A whole run


def run(
    homes: list[Home], *programs: str, submissions: int, duration_s: float = 60.0, dead_first: tuple[str, ...] = ()
) -> tuple[Ending, list[str], list[Snapshot]]:
    """Args: ``dead_first``: nodes whose end is waited for before the run begins to count its time."""
    notes: list[str] = []
    shown: list[Snapshot] = []

    def begin(those: list[Home]) -> list[NodeProcess]:
        nodes = start(those, *programs)
        wait_until(lambda: all(node.exit_status is not None for node in nodes if node.name in dead_first))
        return nodes

    ending = run_testnet(
        homes,
        submissions=submissions,
        duration_s=duration_s,
        show=lambda snapshot, _: shown.append(snapshot),
        note=notes.append,
        start=begin,
    )
    return ending, notes, shown


def test_it_ends_when_enough_is_settled(homes: list[Home]) -> None:
    ending, notes, shown = run(homes, SLEEPER, submissions=2)
    assert Ending(True, (), ()) == ending
    assert notes == []
    assert [snapshot.settled for snapshot in shown] == [2]


def test_it_ends_when_the_time_is_over(homes: list[Home]) -> None:
    ending, _, shown = run(homes, SLEEPER, submissions=3, duration_s=0.1)
    assert Ending(False, (), ()) == ending
    assert {snapshot.settled for snapshot in shown} == {2}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as a terminal's program has it, also where these tests are run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class _Swallows:
    """A finalizer in which an interruption comes, and is forgotten."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_python_forgets_ends_it(homes: list[Home], interruptible: None) -> None:
    def show(snapshot: Snapshot, elapsed_s: float) -> None:
        _Swallows()

    with pytest.raises(KeyboardInterrupt):
        run_testnet(
            homes,
            submissions=3,
            duration_s=600.0,
            show=show,
            note=lambda text: None,
            start=lambda those: start(those, SLEEPER),
        )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interruption_that_is_ignored_stays_ignored(interruptible: None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        interruption.check()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_node_that_dies_is_reported_with_its_log_and_the_others_go_on(homes: list[Home]) -> None:
    ending, notes, _ = run(homes, SLEEPER, DYING, SLEEPER, submissions=3, duration_s=1.5, dead_first=("node1",))
    assert Ending(False, ("node1",), ()) == ending
    (note,) = notes
    for part in ("node1 has ended with status 7", "node1/logs/node.log", "  | about to die", "  | of a broken heart"):
        assert part in note


def test_it_fails_when_the_rest_is_no_quorum(homes: list[Home]) -> None:
    started: list[NodeProcess] = []

    def keep(those: list[Home], programs: tuple[str, ...]) -> list[NodeProcess]:
        started.extend(start(those, *programs))
        return started

    with pytest.raises(
        TestnetFailed, match=r"node[01], node[01] ended; the 2 of 4 authorities left cannot make blocks"
    ):
        run_testnet(
            homes,
            submissions=3,
            duration_s=60.0,
            show=lambda *_: None,
            note=lambda _: None,
            start=lambda those: keep(those, (DYING, DYING, SLEEPER)),
        )
    assert len(started) == 4
    assert all(node.exit_status is not None for node in started)


def test_the_report(homes: list[Home], chain: HomeChain) -> None:
    first, second = _checkpoints(chain)
    plain = report(homes)
    expected = {
        "chain_id": "home",
        "nodes": 4,
        "height": chain.position.height - 1,
        "heads_agree": True,
        "submitted": 2,
        "settled": 2,
        "accepted": 2,
        "rejected": 0,
        "ballots": 2,
    }
    assert expected == {name: plain[name] for name in expected}
    assert cid_text(first.weights) == plain["first"]["cid"]
    assert {"cid", "qn", "fid", "v_a", "v_c", "r_c"} == set(plain["first"])
    lowest = min((first, second), key=lambda each: each.report.qn_micro(1_000) if each.report else 0)
    assert cid_text(lowest.weights) == plain["best"]["cid"]
    found = best_checkpoint(homes)
    assert found is not None
    assert lowest.weights == found[0].weights


def test_the_report_of_a_testnet_without_an_accepted_checkpoint(tmp_path: Path) -> None:
    made = HomeChain(tmp_path / "node0")
    made.close()
    plain = report([made.home])
    assert tuple(plain[name] for name in ("height", "settled", "first", "best", "heads_agree")) == (
        0,
        0,
        None,
        None,
        True,
    )
    assert best_checkpoint([made.home]) is None


def test_a_home_without_a_chain_shows_in_the_report(homes: list[Home]) -> None:
    homes[3].chain_db.unlink()
    assert not report(homes)["heads_agree"]
    for home in homes[:3]:
        home.chain_db.unlink()
    with pytest.raises(TestnetFailed, match="no node has started a chain"):
        report(homes)


# Wrong use


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nodes", "0"], "--nodes must lie in"),
        (["--nodes", "1000"], "--nodes must lie in"),
        (["--submissions", "0"], "--submissions must lie in"),
        (["--duration", "0"], "--duration must lie in"),
        (["--duration", "nan"], "--duration must lie in"),
        (["--steps", "0"], "--steps must lie in"),
        (["--resume"], "holds no testnet"),
        (["--nodes", "many"], "invalid int value"),
    ],
)
def test_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(["testnet", "--dir", str(tmp_path / "net"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nodes", "3"], "--nodes of this testnet is 4"),
        (["--nodes", "4", "--dataset", "digits"], "--dataset of this testnet is fake"),
    ],
)
def test_resuming_changes_nothing(
    homes: list[Home], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    directory = str(homes[0].path.parent)
    assert main(["testnet", "--dir", directory, "--resume", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_directory_that_is_not_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "something").touch()
    assert main(["testnet", "--dir", str(tmp_path), "--json"]) == 2
    assert "is not empty" in json.loads(capsys.readouterr().out)["error"]


def test_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["testnet", "--dir", str(tmp_path / "net")]) == 2
    assert 'pip install "pdfedchain[diffusion]"' in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


def _checkpoints(chain: HomeChain) -> list[Checkpoint]:
    return sorted(
        (found for cid in chain.results if (found := chain.view.checkpoint(cid))), key=lambda c: c.submitted_height
    )
