"""Weights that must not pass: copies of the reference images, and folders that are no model. Each is rejected on chain
with its reason, and no node fails."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from node.genesis_file import load_genesis_file
from node.weights.store import WeightsStore
from pdfedchain.ids import Hash
from pdfedchain.types.checkpoint import CheckpointStatus, RejectionReason
from pdfedchain.types.task import TaskSpec
from tests.e2e.network import Network, pdfed_json
from tests.support.planted import (
    corrupt_architecture,
    corrupt_nan,
    corrupt_pickle,
    corrupt_truncate,
    make_planted_checkpoint,
)

pytestmark = pytest.mark.e2e

DAMAGES: dict[str, tuple[Callable[[Path], None], RejectionReason]] = {
    "truncated": (corrupt_truncate, RejectionReason.MALFORMED),
    "pickled": (corrupt_pickle, RejectionReason.MALFORMED),
    "widened": (corrupt_architecture, RejectionReason.WRONG_ARCHITECTURE),
    "nan": (corrupt_nan, RejectionReason.NON_FINITE),
}


def planted_folders(task: TaskSpec, weights: WeightsStore, directory: Path) -> list[Path]:
    """A checkpoint that knows reference images by heart, and damaged copies of it, each with a digest of its own."""
    directory.mkdir()
    weights.export(task.reference, directory / "reference")
    copies = directory / "copies"
    digest = make_planted_checkpoint(task.model, directory / "reference", copies)
    copies.with_suffix(".digest").write_text(digest.hex())
    folders = [copies]
    for index, (name, (damage, _)) in enumerate(DAMAGES.items()):
        folder = directory / name
        shutil.copytree(copies, folder)
        damage(folder)
        folder.with_suffix(".digest").write_text(Hash(bytes([index + 1]) * 32).hex())
        folders.append(folder)
    return folders


def test_copies_and_damaged_weights_are_rejected_with_their_reasons(
    network: Callable[..., Network], tmp_path: Path
) -> None:
    net = network(roles=("authority,trainer", "authority", "authority", "authority"))
    task = load_genesis_file(net.homes[0].genesis_path).ledger.tasks[0]
    folders = planted_folders(task, WeightsStore(net.homes[0].weights_dir), tmp_path / "planted")
    net.start(0, "planter", *folders)
    for index in range(1, 4):
        net.start(index)
    net.wait("all are settled", lambda: len(net.settled(1)) == len(folders), timeout_s=420)

    settled = {checkpoint.weights_digest: checkpoint for checkpoint in net.settled(1)}
    copies = settled[Hash(bytes.fromhex(folders[0].with_suffix(".digest").read_text()))]
    assert copies.status is CheckpointStatus.REJECTED
    assert copies.reason is RejectionReason.MEMORISATION_CEILING
    assert copies.report is not None
    assert copies.report.r_c_micro > task.ceilings.r_c_micro_max
    found = {name: settled[Hash(bytes([index + 1]) * 32)].reason for index, name in enumerate(DAMAGES)}
    assert found == {name: reason for name, (_, reason) in DAMAGES.items()}
    assert all(net.running(index) for index in range(4)), "a node failed"
    for index in range(1, 4):
        assert net.stop(index, signal.SIGTERM) == 0
    audit = pdfed_json("audit", "--home", net.homes[2].path, "--scores", "all")
    assert audit["ok"] is True
    assert audit["scores_checked"] == len(folders)
