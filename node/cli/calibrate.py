"""``pdfed calibrate --home H``: can this machine be an authority of a task?

Whoever made the task computed two scores, which lie beside its scorer. They are computed again here, by a worker as a
node's, and compared by the rule that decides who agrees on chain; the self-test and the time of a score are measured on
the way.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from node.cli.commands import EXIT_NEGATIVE, EXIT_SUCCESS
from node.cli.home_argument import add_home_argument, home_of
from node.cli.output import Output
from node.home import Home
from node.reader import open_reader
from node.weights.store import WeightsStore
from node.workers import Worker, require_diffusion
from pdfedchain.errors import UsageError
from pdfedchain.types.jobs import Calibrate, Calibrated
from pdfedchain.types.score import ScoreReport, ScoringSpec
from pdfedchain.types.task import TaskSpec

__all__ = ["add_arguments", "run"]

_WHAT: Final = ("sampled images", "noisy reference images")
_COMPONENTS: Final = ("checked", "confirmed", "v_a_micro", "v_c_micro", "fid_micro")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_home_argument(parser)
    parser.add_argument("--task", metavar="NAME", help="name of a task; the first one if not given")
    parser.add_argument("--device", help="torch device; the node's configured one if not given")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Compute, compare, say whether."""
    require_diffusion("calibrating")
    home = home_of(arguments)
    with open_reader(home) as reader:
        task = _task(tuple(reader.view().tasks()), arguments.task)
        deadline_ms = reader.view().parameters.scoring.time_ms
    device = arguments.device or home.config().training.device
    answer = trio.run(_calibrate, home, task, device, output)
    verdict = _judge(task, answer, deadline_ms)
    _show(task, answer, verdict, device, output)
    return EXIT_SUCCESS if verdict.is_able else EXIT_NEGATIVE


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Attributes:
    agrees: whether each known score is within tolerance here.
    needed_ms: for as many scores as the task lets be due at once.
    """

    agrees: tuple[bool, ...]
    needed_ms: int
    deadline_ms: int
    has_passed_self_test: bool

    @property
    def is_able(self) -> bool:
        return all(self.agrees) and self.has_passed_self_test and self.needed_ms <= self.deadline_ms


def _task(tasks: tuple[TaskSpec, ...], name: str | None) -> TaskSpec:
    for task in tasks:
        if name in (None, task.name):
            return task
    names = ", ".join(task.name for task in tasks)
    raise UsageError(f"the chain has no task {name!r}" if names else "the chain has no task", hint=f"tasks: {names}")


async def _calibrate(home: Home, task: TaskSpec, device: str, output: Output) -> Calibrated:
    store = WeightsStore(home.weights_dir)
    with tempfile.TemporaryDirectory(prefix="pdfed-") as scratch:
        folders = {name: Path(scratch) / name for name in ("reference", "scorer")}
        for name, folder in folders.items():
            await trio.to_thread.run_sync(store.export, getattr(task, name), folder)
        request = Calibrate(task.model, task.scoring, str(folders["reference"]), str(folders["scorer"]), device)
        async with Worker("calibrate", home.logs_dir) as worker:
            result = await worker.run(request, lambda p: output.progress(p.stage, p.done, p.total))
    assert isinstance(result, Calibrated), "a calibration answers what it found"
    return result


def _judge(task: TaskSpec, answer: Calibrated, deadline_ms: int) -> _Verdict:
    agrees = tuple(
        known.agrees_with(found, task.scoring.tolerance)
        for known, found in zip(answer.known, answer.found, strict=True)
    )
    needed_ms = answer.score_ms * task.scoring_at_once_max
    return _Verdict(agrees, needed_ms, deadline_ms, not answer.self_test)


def _show(task: TaskSpec, answer: Calibrated, verdict: _Verdict, device: str, output: Output) -> None:
    rows = [
        (what, name.removesuffix("_micro"), getattr(known, name), getattr(found, name), _differ(known, found, name))
        for what, known, found in zip(_WHAT, answer.known, answer.found, strict=True)
        for name in _COMPONENTS
    ]
    output.table(("score of", "component", "known", "here", "difference"), rows)
    for what, known, found, agrees in zip(_WHAT, answer.known, answer.found, verdict.agrees, strict=True):
        same = "the same images" if known.images_hash == found.images_hash else "other images (their hash differs)"
        output.say(f"{what}: {'within' if agrees else 'OUTSIDE'} the task's tolerance, {same}")
    output.say("self-test: " + ("passed" if not answer.self_test else "; ".join(answer.self_test)))
    output.say(
        f"a score takes {answer.score_ms / 1_000:.1f} s on {device}; {task.scoring_at_once_max} may be due at once, "
        f"within {verdict.deadline_ms / 1_000:.0f} s"
    )
    able = "can" if verdict.is_able else "cannot"
    output.say(f"this machine {able} be an authority of task {task.name}")
    output.result(
        {
            "task": task.name,
            "device": device,
            "profile": task.scoring.profile.value,
            "scores": [
                {
                    "of": what,
                    "agrees": agrees,
                    "same_images": known.images_hash == found.images_hash,
                    "components": _plain(known, found, task.scoring),
                }
                for what, known, found, agrees in zip(_WHAT, answer.known, answer.found, verdict.agrees, strict=True)
            ],
            "self_test": list(answer.self_test),
            "score_ms": answer.score_ms,
            "needed_ms": verdict.needed_ms,
            "deadline_ms": verdict.deadline_ms,
            "can_be_authority": verdict.is_able,
        }
    )


def _plain(known: ScoreReport, found: ScoreReport, scoring: ScoringSpec) -> dict[str, Any]:
    return {
        name: {
            "known": getattr(known, name),
            "here": getattr(found, name),
            "difference": _differ(known, found, name),
            "tolerance": getattr(scoring.tolerance, name),
        }
        for name in _COMPONENTS
    }


def _differ(known: ScoreReport, found: ScoreReport, name: str) -> int:
    difference: int = getattr(found, name) - getattr(known, name)
    return difference
