"""The text of a ``config.toml``: written with a comment per key, since people edit it."""

from __future__ import annotations

import json

from node.config import Config

__all__ = ["render_config"]


def render_config(config: Config) -> str:
    """The text of a ``config.toml`` that parses to ``config``."""
    training = config.training
    return f"""\
[node]
name = {_quoted(config.node.name)}
# authority (proposes, votes, scores), trainer, evaluator (votes with private images), observer
roles = [{", ".join(_quoted(role.value) for role in config.node.roles)}]

[network]
listen = {_quoted(config.network.listen)}
# in addition to those in genesis.json: "/ip4/.../tcp/.../p2p/..."
peers = [{", ".join(_quoted(peer) for peer in config.network.peers)}]
# true: find nodes of this chain on the same network by multicast DNS, and be found
mdns = {_truth(config.network.mdns)}
# true: tell others by Kademlia which weights are here, and ask who has what no peer has
dht = {_truth(config.network.dht)}

[training]
# optimiser steps per submission
steps = {training.steps}
batch_size = {training.batch_size}
learning_rate = {training.learning_rate!r}
# torch device: cpu, cuda:0, mps
device = {_quoted(training.device)}
# rest between a settled submission and the next training
pause_s = {training.pause_s!r}

[participant]
# which checkpoints to train from: best, best-of-others, best-private, mean-of-two-best
strategy = {_quoted(config.participant.strategy)}
# a trainer also votes on the others' checkpoints with its private images
evaluate = {_truth(config.participant.evaluate)}

[data]
# folder with the private images.safetensors, relative to this home directory
path = {_quoted(config.data.path)}

[sync]
# true: an empty home begins with a recent state from peers, without the blocks before it
from_snapshot = {_truth(config.sync.from_snapshot)}
# blocks between the states offered to others
snapshot_interval = {config.sync.snapshot_interval}
# transactions of so many newest blocks are kept, headers always; 0 keeps all
keep_blocks = {config.sync.keep_blocks}

[weights]
# most megabytes of stored weights, 0 for no limit; `pdfed weights gc` makes room
quota_mb = {config.weights.quota_mb}
"""


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _quoted(text: str) -> str:
    """A TOML basic string; names and addresses are printable, so JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False)
