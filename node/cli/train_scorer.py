"""``pdfed train-scorer --images FOLDER --out D``: a scorer for your images, or a fingerprinter for all kinds."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Final

import trio

from node.cli.commands import EXIT_SUCCESS
from node.cli.output import Output
from node.workers import Worker, require_diffusion
from pdfedchain.errors import UsageError
from pdfedchain.types.jobs import Progress, ScorerTrained, TrainScorer

__all__ = ["add_arguments", "run"]

#: As long as a task's scorer is trained (`diffusion.score.learn.LearningPlan`, which must not be imported here).
_FINGERPRINTER_STEPS: Final = 100
_VERIFIER_STEPS: Final = 1_500
_STEPS_MAX: Final = 10**9
_SEED_MAX: Final = 2**32 - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--images", required=True, nargs="+", metavar="FOLDER", help="a folder of images, digits, or fashion-mnist"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="D", help="folder to make")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted training")
    parser.add_argument(
        "--fingerprinter-steps",
        type=int,
        default=_FINGERPRINTER_STEPS,
        metavar="N",
        help=f"default {_FINGERPRINTER_STEPS}, from the shipped one on",
    )
    parser.add_argument(
        "--verifier-steps",
        type=int,
        default=_VERIFIER_STEPS,
        metavar="N",
        help=f"default {_VERIFIER_STEPS}; 0 trains a fingerprinter alone, for all sizes, on any number of folders",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default 1")
    parser.add_argument("--device", default="cpu", help="default cpu")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Train in a worker and show the model card's figures."""
    require_diffusion("training a scorer")
    if not all(0 <= steps <= _STEPS_MAX for steps in (arguments.fingerprinter_steps, arguments.verifier_steps)):
        raise UsageError("--fingerprinter-steps and --verifier-steps must be 0 or more")
    if not 0 <= arguments.seed <= _SEED_MAX:
        raise UsageError(f"--seed must be between 0 and {_SEED_MAX}")
    out = arguments.out.absolute()
    trio.run(_train, arguments, out, output)
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    if arguments.verifier_steps:
        _show_scorer(card, out, output)
    else:
        _show_fingerprinter(card, out, output)
    output.result({"out": str(out), **card})
    return EXIT_SUCCESS


def _show_scorer(card: dict[str, Any], out: Path, output: Output) -> None:
    output.say(f"wrote {out}: {card['extractor']}, trained on {card['trained_on']} images, {card['held_out']} held out")
    figures = [(name, f"{value:.3f}") for name, value in card["figures"].items()]
    output.table(("share of held-out images", "value"), figures)
    output.say(f"use it with: pdfed score --scorer {out} ...")


def _show_fingerprinter(card: dict[str, Any], out: Path, output: Output) -> None:
    trained_on = sum(source["trained_on"] for source in card["sources"])
    output.say(f"wrote {out}: a fingerprinter trained on {trained_on} images, SHA-256 {card['sha256']}")
    names = [name for name in card["figures"][0] if name not in ("source", "image_size")]
    rows = [(row["source"], str(row["image_size"]), *(f"{row[name]:.3f}" for name in names)) for row in card["figures"]]
    output.table(("held-out images of", "px", *names), rows)


async def _train(arguments: argparse.Namespace, out: Path, output: Output) -> None:
    request = TrainScorer(
        # a name stays a name; a folder may be given relative to here, which is not where a worker is
        images=tuple(str(Path(name).absolute()) if Path(name).exists() else name for name in arguments.images),
        output=str(out),
        resume=arguments.resume,
        fingerprinter_steps=arguments.fingerprinter_steps,
        verifier_steps=arguments.verifier_steps,
        seed=arguments.seed,
        device=arguments.device,
    )

    def show(progress: Progress) -> None:
        loss = f", loss {progress.loss_micro / 1e6:.3f}" if progress.loss_micro else ""
        output.progress(f"{progress.stage}{loss}", progress.done, progress.total)

    with tempfile.TemporaryDirectory(prefix="pdfed-train-scorer-") as logs:
        async with Worker("train-scorer", Path(logs)) as worker:
            result = await worker.run(request, show)
    assert isinstance(result, ScorerTrained), "training a scorer answers with its folder"
