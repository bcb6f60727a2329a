"""``pdfed score --generated G --train T --test S``: quality and novelty of any folder of images."""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import trio

from node.cli.commands import EXIT_SUCCESS
from node.cli.output import Output
from node.deduplication import excluded_images
from node.workers import Worker, require_diffusion
from pdfedchain.errors import UsageError
from pdfedchain.types.jobs import FoldersScored, Progress, ScoreFolders
from pdfedchain.types.score import ArithmeticProfile

__all__ = ["add_arguments", "run"]

_SHOWN: Final = 24
_NO_CACHE: Final = "none"
_AT_RISK_COLUMNS: Final = ("train", "found", "normalised", "leave_out")
#: Figure -> what it is, in the order of the table.
_MEANINGS: Final = {
    "qn": "quality-novelty score, lower is better",
    "fid": "Frechet distance to the test images, lower is better",
    "r_c": "share of generated images that copy a training image",
    "v_c": "mean similarity of confirmed copies",
    "v_a": "mean similarity of checked pairs",
    "auth_pct": "% farther from their source than its neighbour; low is copying",
    "ct": "z-score of distances to the training images; far below 0 is copying",
    "fld": "feature likelihood divergence, lower is better",
    "kid": "kernel distance to the test images, lower is better",
    "precision": "share of generated images among test images",
    "recall": "share of test images among generated images",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    for name, what in (("generated", "to score"), ("train", "it was trained on"), ("test", "it has not seen")):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FOLDER", help=f"images {what}")
    parser.add_argument("--scorer", type=Path, metavar="D", help="from train-scorer or a task; default: train one")
    parser.add_argument("--novelty-weight", type=int, metavar="W", help="default: calibrated, see docs/scoring.md")
    parser.add_argument("--pairs", type=Path, metavar="CSV", help="write all checked pairs")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="write the worst pairs side by side")
    parser.add_argument("--at-risk", type=Path, metavar="CSV", help="add up which training images are memorised")
    parser.add_argument("--cache", type=Path, metavar="D", help="where features are remembered, or none")
    parser.add_argument("--profile", choices=("f32", "f64"), default="f32", help="precision; default f32")
    parser.add_argument("--device", default="cpu", help="torch device; default cpu")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Score in a worker and show what came out."""
    require_diffusion("scoring")
    if arguments.novelty_weight is not None and not 0 <= arguments.novelty_weight <= 10**9:
        raise UsageError(f"--novelty-weight must be 0 to 10^9, found {arguments.novelty_weight}")
    for target in (arguments.pairs, arguments.picture, arguments.at_risk):
        if target is not None and not target.absolute().parent.is_dir():
            raise UsageError(f"{target.parent} is no folder", hint="make it first, or choose another file")
    found = None if arguments.at_risk is None else _read_at_risk(arguments.at_risk)
    with tempfile.TemporaryDirectory(prefix="pdfed-score-") as name:
        files = Path(name) / "score"
        trio.run(_score, arguments, files, output)
        report = json.loads((files / "report.json").read_text(encoding="utf-8"))
        if arguments.pairs is not None:
            _keep(files / "pairs.csv", arguments.pairs)
        if arguments.picture is not None:
            if (files / "worst.png").exists():
                _keep(files / "worst.png", arguments.picture)
            else:
                report["remarks"].append("no pair is unusually close, so there is no picture")
    memorised = report.pop("memorised")
    if found is not None:
        report["at_risk"] = _write_at_risk(arguments.at_risk, found, memorised, report["train_images"])
    _show(report, output)
    output.result(report)
    return EXIT_SUCCESS


async def _score(arguments: argparse.Namespace, files: Path, output: Output) -> None:
    request = ScoreFolders(
        generated=str(arguments.generated.absolute()),
        train=str(arguments.train.absolute()),
        test=str(arguments.test.absolute()),
        scorer=None if arguments.scorer is None else str(arguments.scorer.absolute()),
        novelty_weight=arguments.novelty_weight,
        cache=_cache(arguments.cache),
        profile=ArithmeticProfile(arguments.profile),
        output=str(files),
        shown=0 if arguments.picture is None else _SHOWN,
        device=arguments.device,
    )

    def show(progress: Progress) -> None:
        output.progress(progress.stage, progress.done, progress.total)

    async with Worker("score", files.parent) as worker:
        result = await worker.run(request, show)
    assert isinstance(result, FoldersScored), "scoring folders answers with files"


def _cache(wished: Path | None) -> str | None:
    if wished is not None:
        return None if str(wished) == _NO_CACHE else str(wished.absolute())
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return str(Path(home) / "pdfed")


def _keep(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error


def _show(report: dict[str, Any], output: Output) -> None:
    output.say(
        f"{report['n']} generated images against {report['train_images']} for training and {report['test_images']} for "
        f"test: {report['confirmed']} copies confirmed of {report['checked']} close pairs, "
        f"{report['exact_copies']} of them exact"
    )
    rows = [(name, _text(report[name]), meaning) for name, meaning in _MEANINGS.items()]
    output.table(("figure", "value", "what it is"), rows)
    output.say(
        f"features {report['extractor']} ({report['profile']}), novelty weight {report['novelty_weight']} "
        f"({report['novelty_weight_from']}), scorer: {report['scorer']}"
    )
    if "at_risk" in report:
        risk = report["at_risk"]
        output.say(f"{risk['found']} training images found so far, {risk['leave_out']} to be left out: {risk['file']}")
    for remark in report["remarks"]:
        output.say(f"note: {remark}")


def _text(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}" if 1_000 <= abs(value) < 1_000_000 else f"{value:.4g}"


# Which training images are at risk, over several scores


def _read_at_risk(path: Path) -> dict[str, int]:
    """How often each training image was found, from an earlier run's file; none without one."""
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["train"]: int(row["found"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{path} is no table of images at risk", hint="name a new file") from error


def _write_at_risk(path: Path, found: dict[str, int], memorised: list[str], images: int) -> dict[str, Any]:
    """Add a run and write the table, most often found first; the rule is `node.deduplication`'s."""
    found = found | {name: found.get(name, 0) + 1 for name in memorised}
    names = sorted(found, key=lambda name: (-found[name], name))
    left_out = excluded_images({index: found[name] for index, name in enumerate(names)})
    # an image that was never found has a count of zero, the minimum
    least = 0 if len(found) < images else min(found.values(), default=0)
    spread = max(max(found.values(), default=1) - least, 1)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(_AT_RISK_COLUMNS)
        for index, name in enumerate(names):
            table.writerow((name, found[name], f"{(found[name] - least) / spread:.4f}", int(index in left_out)))
    temporary.replace(path)
    return {"file": str(path), "found": len(names), "leave_out": len(left_out)}
