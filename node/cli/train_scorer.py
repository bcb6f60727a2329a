"""``pdfed train-scorer --images FOLDER --out D``: a fingerprinter and a verifier for your kind of images."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Final

import trio

from node.cli.commands import EXIT_SUCCESS
from node.cli.output import Output
from node.workers import Worker, require_diffusion
from pdfedchain.errors import UsageError
from pdfedchain.types.jobs import Progress, ScorerTrained, TrainScorer

__all__ = ["add_arguments", "run"]

_STEPS_MAX: Final = 10**9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--images", required=True, metavar="FOLDER", help="a folder of images, or digits")
    parser.add_argument("--out", type=Path, required=True, metavar="D", help="folder to make")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted training")
    parser.add_argument("--fingerprinter-steps", type=int, default=600, metavar="N", help="default 600")
    parser.add_argument("--verifier-steps", type=int, default=800, metavar="N", help="default 800")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Train in a worker and show the model card's figures."""
    require_diffusion("training a scorer")
    if not all(1 <= steps <= _STEPS_MAX for steps in (arguments.fingerprinter_steps, arguments.verifier_steps)):
        raise UsageError("--fingerprinter-steps and --verifier-steps must be 1 or more")
    out = arguments.out.absolute()
    trio.run(_train, arguments, out, output)
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    output.say(f"wrote {out}: {card['extractor']}, trained on {card['trained_on']} images, {card['held_out']} held out")
    figures = [(name, f"{value:.3f}") for name, value in card["figures"].items()]
    output.table(("share of held-out images", "value"), figures)
    output.say(f"use it with: pdfed score --scorer {out} ...")
    output.result({"out": str(out), **card})
    return EXIT_SUCCESS


async def _train(arguments: argparse.Namespace, out: Path, output: Output) -> None:
    images = arguments.images
    request = TrainScorer(
        # a name stays a name; a folder may be given relative to here, which is not where a worker is
        images=str(Path(images).absolute()) if Path(images).exists() else images,
        output=str(out),
        resume=arguments.resume,
        fingerprinter_steps=arguments.fingerprinter_steps,
        verifier_steps=arguments.verifier_steps,
    )

    def show(progress: Progress) -> None:
        loss = f", loss {progress.loss_micro / 1e6:.3f}" if progress.loss_micro else ""
        output.progress(f"{progress.stage}{loss}", progress.done, progress.total)

    with tempfile.TemporaryDirectory(prefix="pdfed-train-scorer-") as logs:
        async with Worker("train-scorer", Path(logs)) as worker:
            result = await worker.run(request, show)
    assert isinstance(result, ScorerTrained), "training a scorer answers with its folder"
