"""``config.toml`` of a home directory: frozen dataclasses, every key checked.

An unknown key is refused and the nearest valid one is named: a misspelt setting that is silently ignored costs more
than a start that fails. The file is written as text with a comment per key, since people edit it.

::

    [node]         name, roles              authority, trainer, evaluator, observer
    [network]      listen, peers            multiaddrs; peers of genesis.json need not be repeated
                   mdns, dht                finding peers on the same network, and who has weights
    [training]     steps, batch_size, learning_rate, device, pause_s
    [participant]  strategy, evaluate
    [data]         path                     folder with the private images, relative to the home
    [sync]         from_snapshot, snapshot_interval, keep_blocks
    [weights]      quota_mb                 most megabytes of stored weights; 0 leaves it to the disk
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from node.multiaddress import parse_multiaddress
from node.strategy import strategy_named
from pdfedchain.errors import UsageError
from pdfedchain.limits import NAME_LENGTH_MAX
from pdfedchain.types.transaction import Role

__all__ = [
    "Config",
    "DataConfig",
    "NetworkConfig",
    "NodeConfig",
    "NodeRole",
    "ParticipantConfig",
    "SyncConfig",
    "TrainingConfig",
    "WeightsConfig",
    "check_name",
    "load_config",
    "parse_config",
    "parse_roles",
]

T = TypeVar("T")

CONFIG_SIZE_BYTES_MAX = 1_048_576

#: The older snapshot on offer is up to two intervals old, and fetching it takes time.
_KEPT_INTERVALS_MIN = 4


class NodeRole(enum.StrEnum):
    """What a node does; each is a switch."""

    AUTHORITY = "authority"
    TRAINER = "trainer"
    EVALUATOR = "evaluator"
    OBSERVER = "observer"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """``[node]``. ``roles`` are distinct; observer stands alone."""

    name: str
    roles: tuple[NodeRole, ...]


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """``[network]``.

    Attributes:
        peers: multiaddrs with ``/p2p/``, in addition to those of genesis.json.
        mdns: announce this node on its own network, and dial nodes that announce themselves there.
        dht: tell by Kademlia which weights this node has, and ask it for weights that no peer has.
    """

    listen: str
    peers: tuple[str, ...] = ()
    mdns: bool = False
    dht: bool = True


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """``[training]``: per submission. ``device`` is torch's name, for example ``"cpu"`` or ``"cuda:0"``."""

    steps: int = 120
    batch_size: int = 64
    learning_rate: float = 3e-3
    device: str = "cpu"
    pause_s: float = 1.0

    @property
    def learning_rate_nano(self) -> int:
        """The learning rate as jobs and the chain carry it."""
        return round(self.learning_rate * 1e9)


@dataclass(frozen=True, slots=True)
class ParticipantConfig:
    """``[participant]``. ``evaluate``: a trainer also votes on the others' models with its private images."""

    strategy: str = "best-of-others"
    evaluate: bool = True


@dataclass(frozen=True, slots=True)
class DataConfig:
    """``[data]``."""

    path: str = "private/data"


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """``[sync]``: how much of the past this node fetches and keeps.

    Attributes:
        from_snapshot: an empty home begins with a recent state from peers instead of with every block since genesis.
        snapshot_interval: blocks between the states this node offers to others.
        keep_blocks: bodies of so many newest blocks stay, headers always; 0 keeps all. At least four intervals, so
            that who joins by a snapshot finds the blocks since.
    """

    from_snapshot: bool = False
    snapshot_interval: int = 100
    keep_blocks: int = 0


@dataclass(frozen=True, slots=True)
class WeightsConfig:
    """``[weights]``. ``quota_mb``: most megabytes of all stored blocks; zero for no bound but the disk's."""

    quota_mb: int = 0

    @property
    def size_bytes_max(self) -> int | None:
        """The bound as `WeightsStore` takes it."""
        return self.quota_mb * 1_000_000 or None


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    node: NodeConfig
    network: NetworkConfig
    training: TrainingConfig = field(default_factory=TrainingConfig)
    participant: ParticipantConfig = field(default_factory=ParticipantConfig)
    data: DataConfig = field(default_factory=DataConfig)
    sync: SyncConfig = field(default_factory=SyncConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)

    @property
    def is_authority(self) -> bool:
        """Whether this node wants to propose, vote and score."""
        return NodeRole.AUTHORITY in self.node.roles

    @property
    def participant_roles(self) -> Role:
        """What it registers as; zero for a node that neither trains nor evaluates."""
        roles = Role(0)
        if NodeRole.TRAINER in self.node.roles:
            roles |= Role.TRAINER
            if self.participant.evaluate:
                roles |= Role.EVALUATOR
        if NodeRole.EVALUATOR in self.node.roles:
            roles |= Role.EVALUATOR
        return roles


def parse_roles(text: str) -> tuple[NodeRole, ...]:
    """Roles from a comma-separated list, as `pdfed init --roles` takes it.

    Raises:
        UsageError: empty, unknown, twice, or observer together with another.
    """
    return _check_roles([part.strip() for part in text.split(",")], "--roles")


def check_name(name: str, where: str) -> str:
    """A node's name: printable, not empty, short enough for the chain.

    Raises:
        UsageError: it is none.
    """
    if not name.isprintable() or not name.strip() or len(name.encode()) > NAME_LENGTH_MAX:
        raise UsageError(f"{where}: a name is 1 to {NAME_LENGTH_MAX} bytes of printable text, found {name[:80]!r}")
    return name


def load_config(path: Path) -> Config:
    """Read ``config.toml``.

    Raises:
        UsageError: it is missing, unreadable, not TOML, or has an unknown key or a wrong value; names file and key.
    """
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_SIZE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="`pdfed init` makes a home directory"
        ) from error
    if len(data) > CONFIG_SIZE_BYTES_MAX:
        raise UsageError(f"{path} has more than {CONFIG_SIZE_BYTES_MAX} bytes")
    try:
        return parse_config(data.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def parse_config(text: str, where: str) -> Config:
    """The configuration in a TOML text.

    Args:
        where: name of the file, for errors.

    Raises:
        UsageError: see `load_config`.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is not TOML: {error}") from error
    sections: dict[str, Any] = {
        "node": NodeConfig,
        "network": NetworkConfig,
        "training": TrainingConfig,
        "participant": ParticipantConfig,
        "data": DataConfig,
        "sync": SyncConfig,
        "weights": WeightsConfig,
    }
    _refuse_unknown(tables, tuple(sections), where, "")
    values: dict[str, Any] = {}
    for name, cls in sections.items():
        table = tables.get(name, {})
        if not isinstance(table, dict):
            raise UsageError(f"{where}: {name} must be a table: [{name}]")
        values[name] = _section(cls, table, where, name)
    config = Config(**values)
    _check_values(config, where)
    return config


def _refuse_unknown(table: dict[str, Any], known: tuple[str, ...], where: str, prefix: str) -> None:
    for key in table:
        if key in known:
            continue
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"did you mean {prefix}{near[0]}?" if near else f"valid keys: {', '.join(prefix + k for k in known)}"
        raise UsageError(f"{where}: unknown key {prefix}{key}", hint=hint)


def _section(cls: type[T], table: dict[str, Any], where: str, section: str) -> T:
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    _refuse_unknown(table, tuple(fields), where, f"{section}.")
    for name, declared in fields.items():
        if name not in table and declared.default is dataclasses.MISSING:
            raise UsageError(f"{where}: {section}.{name} is missing")
    return cls(**{name: _value(table[name], fields[name].type, f"{where}: {section}.{name}") for name in table})


def _value(value: Any, annotation: Any, where: str) -> Any:
    """One value of a declared type. Annotations are text here (``from __future__ import annotations``)."""
    if annotation == "tuple[NodeRole, ...]":
        return _check_roles(_texts(value, where), where)
    if annotation == "tuple[str, ...]":
        return tuple(_texts(value, where))
    kinds = {"str": str, "int": int, "float": float, "bool": bool}
    kind = kinds[annotation]
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise UsageError(f"{where} must be {kind.__name__}, found {type(value).__name__}")
    return value


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(type(item) is str for item in value):
        raise UsageError(f"{where} must be a list of texts")
    return value


def _check_roles(names: list[str], where: str) -> tuple[NodeRole, ...]:
    valid = [role.value for role in NodeRole]
    for name in names:
        if name not in valid:
            raise UsageError(f"{where}: unknown role {name!r}", hint=f"choose from {', '.join(valid)}")
    roles = tuple(NodeRole(name) for name in names)
    if not roles or len(set(roles)) != len(roles):
        raise UsageError(f"{where}: name each role once, and at least one of {', '.join(valid)}")
    if NodeRole.OBSERVER in roles and len(roles) > 1:
        raise UsageError(f"{where}: an observer has no other role")
    return roles


def _check_values(config: Config, where: str) -> None:
    check_name(config.node.name, f"{where}: node.name")
    parse_multiaddress(config.network.listen, f"{where}: network.listen")
    for peer in config.network.peers:
        address, separator, _ = peer.partition("/p2p/")
        if not separator:
            raise UsageError(f"{where}: network.peers needs /p2p/ and the peer id at the end of {peer!r}")
        parse_multiaddress(address, f"{where}: network.peers")
    training = config.training
    for key, value, low, high in (
        ("steps", training.steps, 1, 10**9),
        ("batch_size", training.batch_size, 1, 65_536),
        ("learning_rate", training.learning_rate, 1e-9, 1.0),
        ("pause_s", training.pause_s, 0, 7 * 24 * 3_600),
    ):
        if not low <= value <= high:
            raise UsageError(f"{where}: training.{key} must lie in [{low}, {high}], found {value}")
    for key, value, low in (
        ("snapshot_interval", config.sync.snapshot_interval, 1),
        ("keep_blocks", config.sync.keep_blocks, 0),
    ):
        if not low <= value <= 10**9:
            raise UsageError(f"{where}: sync.{key} must lie in [{low}, {10**9}], found {value}")
    kept, needed = config.sync.keep_blocks, _KEPT_INTERVALS_MIN * config.sync.snapshot_interval
    if 0 < kept < needed:
        raise UsageError(
            f"{where}: sync.keep_blocks must be 0 or at least {needed}, found {kept}",
            hint=f"who joins by a snapshot needs the blocks since: {_KEPT_INTERVALS_MIN} times sync.snapshot_interval",
        )
    if not 1 <= len(training.device) <= 32:
        raise UsageError(f"{where}: training.device must be a torch device such as 'cpu', found {training.device!r}")
    if not 0 <= config.weights.quota_mb <= 10**9:
        raise UsageError(f"{where}: weights.quota_mb must lie in [0, {10**9}], found {config.weights.quota_mb}")
    if not config.data.path:
        raise UsageError(f"{where}: data.path must name a folder")
    try:
        strategy_named(config.participant.strategy)
    except UsageError as error:
        raise UsageError(f"{where}: participant.strategy: {error}", hint=error.hint) from error
