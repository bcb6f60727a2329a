"""All targets by name."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets_answers import answer_targets
from tests.fuzz.targets_chain import chain_targets
from tests.fuzz.targets_codec import codec_targets
from tests.fuzz.targets_light import light_targets
from tests.fuzz.targets_node import node_targets
from tests.fuzz.targets_wire import wire_targets

__all__ = ["all_targets"]


def all_targets() -> dict[str, Target]:
    """Every decoder and handler of bytes from outside, in order of names."""
    parts = (codec_targets, chain_targets, light_targets, node_targets, answer_targets, wire_targets)
    found = [target for targets in parts for target in targets()]
    assert len({target.name for target in found}) == len(found), "names are unique"
    return {target.name: target for target in sorted(found, key=lambda target: target.name)}
