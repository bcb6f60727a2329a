"""config.toml: what is read, what is written, and every kind of mistake with its file and key."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import (
    Config,
    DataConfig,
    NetworkConfig,
    NodeConfig,
    NodeRole,
    ParticipantConfig,
    SyncConfig,
    TrainingConfig,
    WeightsConfig,
    load_config,
    parse_config,
    parse_roles,
)
from node.config_text import render_config
from node.strategy import STRATEGIES
from pdfedchain.errors import UsageError
from pdfedchain.limits import NAME_LENGTH_MAX
from pdfedchain.types.transaction import Role

MINIMAL = """
[node]
name = "alice"
roles = ["authority", "trainer"]
[network]
listen = "/ip4/127.0.0.1/tcp/4610"
"""
PEER = "/dns4/b.example/tcp/4610/p2p/12D3KooWD38jS25WHMrC6F4GcES8NKMieWdPbo4Mf48R81nzPEBh"

names = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=16).filter(
    lambda name: name.isprintable() and bool(name.strip()) and len(name.encode()) <= NAME_LENGTH_MAX
)
roles = st.one_of(
    st.just((NodeRole.OBSERVER,)),
    st.permutations([NodeRole.AUTHORITY, NodeRole.TRAINER, NodeRole.EVALUATOR]).flatmap(
        lambda order: st.integers(1, 3).map(lambda count: tuple(order[:count]))
    ),
)
configs = st.builds(
    Config,
    node=st.builds(NodeConfig, name=names, roles=roles),
    network=st.builds(
        NetworkConfig, listen=st.just("/ip6/::1/tcp/1"), peers=st.lists(st.just(PEER), max_size=2).map(tuple)
    ),
    training=st.builds(
        TrainingConfig,
        steps=st.integers(1, 10**9),
        batch_size=st.integers(1, 65_536),
        learning_rate=st.floats(1e-9, 1.0),
        device=st.sampled_from(["cpu", "cuda:1", "mps"]),
        pause_s=st.floats(0, 1_000),
    ),
    participant=st.builds(ParticipantConfig, strategy=st.sampled_from(sorted(STRATEGIES)), evaluate=st.booleans()),
    data=st.builds(DataConfig, path=st.sampled_from(["private/data", "/srv/my images"])),
    sync=st.builds(
        SyncConfig,
        from_snapshot=st.booleans(),
        snapshot_interval=st.integers(1, 100),
        keep_blocks=st.just(0) | st.integers(400, 10**9),
    ),
    weights=st.builds(WeightsConfig, quota_mb=st.integers(0, 10**9)),
)


@given(configs)
def test_what_is_written_is_read_again(config: Config) -> None:
    assert config == parse_config(render_config(config), "config.toml")


def test_what_is_left_out_has_its_default() -> None:
    config = parse_config(MINIMAL, "config.toml")
    expected = Config(
        NodeConfig("alice", (NodeRole.AUTHORITY, NodeRole.TRAINER)), NetworkConfig("/ip4/127.0.0.1/tcp/4610")
    )
    assert expected == config
    assert config.training.learning_rate_nano == 3_000_000


@pytest.mark.parametrize(
    ("extra", "message", "hint"),
    [
        ("[trainning]\nsteps = 1", "unknown key trainning", "did you mean training?"),
        ("[training]\nstep = 1", "unknown key training.step", "did you mean training.steps?"),
        ("[participant]\nxyz = 1", "unknown key participant.xyz", "valid keys: participant.strategy"),
        ("[training]\nsteps = 0", r"training.steps must lie in \[1", ""),
        ('[training]\nsteps = "many"', "training.steps must be int, found str", ""),
        ("[training]\nsteps = true", "training.steps must be int, found bool", ""),
        ("[training]\nlearning_rate = nan", "training.learning_rate must lie in", ""),
        ("[training]\nlearning_rate = 2", "training.learning_rate must lie in", ""),
        ("[training]\npause_s = -1", "training.pause_s must lie in", ""),
        ('[training]\ndevice = ""', "training.device must be a torch device", ""),
        ('[participant]\nstrategy = "luck"', "participant.strategy: unknown strategy 'luck'", "choose one of"),
        ('[participant]\nevaluate = "yes"', "participant.evaluate must be bool", ""),
        ('[data]\npath = ""', "data.path must name a folder", ""),
        ("[sync]\nsnapshot_interval = 0", r"sync.snapshot_interval must lie in \[1", ""),
        ("[sync]\nkeep_blocks = -1", r"sync.keep_blocks must lie in \[0", ""),
        ("[sync]\nkeep_blocks = 399", "sync.keep_blocks must be 0 or at least 400", "4 times"),
        ("training = 3", "training must be a table", ""),
        ("[training", "is not TOML", ""),
    ],
)
def test_a_mistake_names_file_and_key(extra: str, message: str, hint: str) -> None:
    text = f"{extra}\n{MINIMAL}" if extra.startswith("training") else f"{MINIMAL}\n{extra}"
    with pytest.raises(UsageError, match=f"here/config.toml.*{message}") as caught:
        parse_config(text, "here/config.toml")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "alice"\n', "", "node.name is missing"),
        ('listen = "/ip4/127.0.0.1/tcp/4610"', "", "network.listen is missing"),
        ("/ip4/127.0.0.1/tcp/4610", "127.0.0.1:4610", "network.listen must look like"),
        ('"alice"', '""', "a name is 1 to 64 bytes"),
        ('"alice"', '"a\\nb"', "a name is 1 to 64 bytes"),
        ('"alice"', f'"{"ä" * 33}"', "a name is 1 to 64 bytes"),
        ('["authority", "trainer"]', "[]", "at least one"),
        ('["authority", "trainer"]', '"trainer"', "must be a list of texts"),
        ('["authority", "trainer"]', '["trainer", "trainer"]', "each role once"),
        ('["authority", "trainer"]', '["boss"]', "unknown role 'boss'"),
        ('["authority", "trainer"]', '["observer", "trainer"]', "observer has no other role"),
        ("[network]\n", '[network]\npeers = ["/ip4/1.2.3.4/tcp/1"]\n', "network.peers needs /p2p/"),
        ("[network]\n", '[network]\npeers = ["1.2.3.4/p2p/x"]\n', "network.peers must look like"),
        ("[network]\n", "[network]\npeers = [3]\n", "network.peers must be a list of texts"),
    ],
)
def test_a_wrong_value_names_file_and_key(old: str, new: str, message: str) -> None:
    assert old in MINIMAL
    with pytest.raises(UsageError, match=f"here/config.toml.*{message}"):
        parse_config(MINIMAL.replace(old, new), "here/config.toml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_config(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_config(path)
    path.write_bytes(b"#" * 1_048_577)
    with pytest.raises(UsageError, match="more than 1048576 bytes"):
        load_config(path)
    path.write_text(MINIMAL)
    assert load_config(path).node.name == "alice"


@pytest.mark.parametrize(
    ("roles", "evaluate", "expected"),
    [
        ((NodeRole.TRAINER,), True, Role.TRAINER | Role.EVALUATOR),
        ((NodeRole.TRAINER,), False, Role.TRAINER),
        ((NodeRole.AUTHORITY, NodeRole.EVALUATOR), False, Role.EVALUATOR),
        ((NodeRole.AUTHORITY,), True, Role(0)),
        ((NodeRole.OBSERVER,), True, Role(0)),
    ],
)
def test_what_a_node_registers_as(roles: tuple[NodeRole, ...], evaluate: bool, expected: Role) -> None:
    config = parse_config(MINIMAL, "config.toml")
    changed = dataclasses.replace(config, node=NodeConfig("a", roles), participant=ParticipantConfig(evaluate=evaluate))
    assert expected == changed.participant_roles
    assert changed.is_authority == (NodeRole.AUTHORITY in roles)


def test_roles_on_the_command_line() -> None:
    assert parse_roles("authority, evaluator") == (NodeRole.AUTHORITY, NodeRole.EVALUATOR)
    for text in ("", "authority,,trainer", "king", "observer,trainer"):
        with pytest.raises(UsageError, match="--roles"):
            parse_roles(text)
