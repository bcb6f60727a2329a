"""Judging a checkpoint of a finished testnet offline, from one home directory alone."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from diffusion.checkpoint import load_weights
from diffusion.data.images import read_reference
from diffusion.score.report import describe_reference, generate, score_images
from diffusion.score.scorer import read_scorer
from node.home import Home
from node.reader import open_reader
from node.weights.store import WeightsStore
from pdfedchain.ids import Hash, parse_cid
from tests.support.recognise import share_recognised


def judge(home: Home, cid: str, *, n: int, seed: Hash) -> tuple[float, float, float]:
    """FID, R_C and the share of samples that a classifier of real digits recognises, from ``n`` fresh samples."""
    store = WeightsStore(home.weights_dir)
    with open_reader(home) as reader, tempfile.TemporaryDirectory() as name:
        checkpoint = reader.checkpoint_named(cid)
        task = reader.task(checkpoint.task)
        folders = {"weights": parse_cid(cid), "reference": task.reference, "scorer": task.scorer}
        for folder, identifier in folders.items():
            store.export(identifier, Path(name) / folder)
        scoring = replace(task.scoring, n=n)
        scorer = read_scorer(Path(name) / "scorer", profile=scoring.profile)
        weights = load_weights(Path(name) / "weights", task.model, checkpoint.weights_digest)
        samples = generate(task.model, scoring, weights, seed=seed)
        reference = describe_reference(
            scorer, scoring, read_reference(Path(name) / "reference"), classes=task.model.classes
        )
        report = score_images(scorer, scoring, reference, samples.images).report
        return report.fid_micro / 1e6, report.confirmed / n, share_recognised(samples.images, samples.labels)


if __name__ == "__main__":
    for one in sys.argv[2:]:
        print(one, judge(Home(sys.argv[1]), one, n=1_000, seed=Hash(b"\x07" * 32)))
