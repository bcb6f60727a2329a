"""A worker that answers at once: weights are random bytes, and a score is a function of seed and weights digest.

Every node gets the same score for the same checkpoint, as honest workers do. ``falsify`` makes one that does not.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import trio

from node.workers import Request, Result, Worker
from pdfedchain.ids import Hash
from pdfedchain.types.jobs import Evaluate, Evaluated, Progress, Score, Scored, SelfTest, SelfTested, Train, Trained
from pdfedchain.types.score import ScoreReport, Unscorable, UnscorableReason


def digest_of(folder: Path) -> Hash:
    """Stands for the digest of tensors."""
    return Hash(hashlib.sha256((folder / "weights.bin").read_bytes()).digest())


def report_of(digest: Hash, seed: Hash, n: int) -> ScoreReport:
    """A plausible report that differs between checkpoints."""
    noise = hashlib.sha256(digest + seed).digest()
    return ScoreReport(n, 10, noise[0] % 5, 400_000 + noise[1], 900_000, 20_000_000 + noise[2] * 1_000, Hash(noise))


ALL_PASSED = SelfTested((), ())


class FakeWorker(Worker):
    """See the module's text."""

    def __init__(
        self,
        logs: Path,
        *,
        delay_s: float = 0.0,
        falsify: Callable[[ScoreReport], ScoreReport] | None = None,
        self_test: SelfTested = ALL_PASSED,
    ) -> None:
        super().__init__("fake", logs, command=("false",))
        self._delay_s = delay_s
        self._falsify = falsify or (lambda report: report)
        self._self_test = self_test
        self.jobs: list[Request] = []

    async def run(self, request: Request, on_progress: Callable[[Progress], None] | None = None) -> Result:
        self.jobs.append(request)
        if isinstance(request, SelfTest):
            return self._self_test
        await trio.sleep(self._delay_s)
        if on_progress is not None:
            on_progress(Progress("faking", 1, 1, 0))
        match request:
            case Train():
                output = Path(request.output)
                output.mkdir(parents=True)
                (output / "weights.bin").write_bytes(secrets.token_bytes(1_000))
                return Trained(digest_of(output), request.steps, request.steps * request.batch_size, 1, 1)
            case Score() | Evaluate() if digest_of(Path(request.checkpoint)) != request.weights_digest:
                outcome: ScoreReport | Unscorable = Unscorable(UnscorableReason.DIGEST_MISMATCH)
            case Score() | Evaluate():
                outcome = self._falsify(report_of(request.weights_digest, request.seed, request.scoring.n))
            case _:
                raise AssertionError(f"no fake for {type(request).__name__}")
        if isinstance(request, Score):
            return Scored(outcome, 1, 1, 2)
        return Evaluated(outcome, (1, 2), 2)


def half_the_distance(report: ScoreReport) -> ScoreReport:
    """A lie that makes a checkpoint look better."""
    return replace(report, fid_micro=report.fid_micro // 2)
