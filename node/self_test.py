"""Whether this node may score: a known score, computed by its worker before any other.

A machine that computes something else (a library with a bug, a processor with one, an instruction set nobody tried)
would be an outlier in every settlement. Such a node goes on as a validator: it proposes, prevotes what it can judge,
holds weights and serves them. It computes no score, and says so: one line in the log, the gauge
``self_test_passed``, ``pdfed status``. What differs is a fact about the machine, so it is not tried again before the
node starts anew; a worker that breaks is.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from node.telemetry import Activity
from node.workers import Worker
from pdfedchain.errors import PdfedError
from pdfedchain.types.jobs import SelfTest, SelfTested
from pdfedchain.types.score import ArithmeticProfile

__all__ = ["PASSED_GAUGE", "SelfTestDuty"]

log = logging.getLogger(__name__)

#: 1 where this node scores as all others do in every profile, else 0; missing until that is known.
PASSED_GAUGE: Final = "self_test_passed"

_RETRY_FIRST_S: Final = 1.0
_RETRY_MAX_S: Final = 30.0


class SelfTestDuty:
    """One self-test, and its answer."""

    def __init__(self, worker: Worker, device: str, activity: Activity) -> None:
        self._worker = worker
        self._device = device
        self._activity = activity
        self._result: SelfTested | None = None

    def may_score(self, profile: ArithmeticProfile) -> bool:
        """Whether the self-test has passed for a profile; false until it is done."""
        if self._result is None:
            return False
        return not (self._result.f64 if profile is ArithmeticProfile.F64 else self._result.f32)

    async def run(self) -> None:
        """Test, once; a worker that breaks is tried again."""
        pause_s = _RETRY_FIRST_S
        while self._result is None:
            try:
                with self._activity.during("self-test"):
                    result = await self._worker.run(SelfTest(self._device))
            except (PdfedError, OSError) as error:
                log.warning("no self-test: %s; trying again in %.0f s", error, pause_s)
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, _RETRY_MAX_S)
                continue
            assert isinstance(result, SelfTested), "a self-test answers what it found"
            self._result = result
        self._tell(self._result)

    def _tell(self, result: SelfTested) -> None:
        self._activity.gauges[PASSED_GAUGE] = int(not result.f64 and not result.f32)
        for profile, different in (("f64", result.f64), ("f32", result.f32)):
            if different:
                log.error(
                    "self-test failed, so this node scores nothing in profile %s and goes on validating: %s",
                    profile,
                    "; ".join(different),
                )
