"""One self-test at the start of a node: told once, tried again only where the worker broke."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from node.errors import JobBroke
from node.self_test import PASSED_GAUGE, SelfTestDuty
from node.telemetry import Activity
from node.workers import Request, Result
from pdfedchain.types.jobs import Progress, SelfTest, SelfTested
from pdfedchain.types.score import ArithmeticProfile
from tests.support.fake_worker import FakeWorker

F64, F32 = ArithmeticProfile.F64, ArithmeticProfile.F32


def duty(worker: FakeWorker, tmp_path: Path) -> tuple[SelfTestDuty, Activity]:
    activity = Activity(tmp_path / "activity.json")
    return SelfTestDuty(worker, "cuda", activity), activity


async def test_a_profile_that_passes_may_be_scored_though_the_other_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = FakeWorker(tmp_path, self_test=SelfTested((), ("fid_micro is 3 instead of 4",)))
    made, activity = duty(worker, tmp_path)
    assert not made.may_score(F64)
    await made.run()
    assert made.may_score(F64)
    assert not made.may_score(F32)
    assert activity.gauges == {PASSED_GAUGE: 0}
    assert worker.jobs == [SelfTest("cuda")]
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "profile f32 and goes on validating: fid_micro is 3 instead of 4" in record.getMessage()


class Breaking(FakeWorker):
    async def run(self, request: Request, on_progress: Callable[[Progress], None] | None = None) -> Result:
        if len(self.jobs) < 2:
            self.jobs.append(request)
            raise JobBroke("the device is lost")
        return await super().run(request, on_progress)


async def test_a_worker_that_breaks_is_asked_again(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    worker = Breaking(tmp_path)
    made, activity = duty(worker, tmp_path)
    await made.run()
    assert len(worker.jobs) == 3
    assert made.may_score(F64)
    assert activity.gauges == {PASSED_GAUGE: 1}
    assert not activity.snapshot()["doing"]
