"""Does this machine score a task as its makers' did, and how long does a score take here?"""

from __future__ import annotations

from pathlib import Path

from diffusion.arithmetic import exact_arithmetic
from diffusion.checks import check_images, check_version, differences, usable_device
from diffusion.data.images import read_reference
from diffusion.progress import Report, silent
from diffusion.score.known import known_scores, read_known
from diffusion.score.scorer import read_scorer
from pdfedchain.errors import UsageError
from pdfedchain.types.jobs import Calibrate, Calibrated
from pdfedchain.types.score import ArithmeticProfile

__all__ = ["calibrate_machine"]


@exact_arithmetic()
def calibrate_machine(request: Calibrate, report: Report = silent) -> Calibrated:
    """Compute a task's known scores again.

    Raises:
        DatasetError: reference set or scorer cannot be used, or the scorer's folder has no known scores.
        UsageError: the scoring version is not installed, or the device cannot be used.
    """
    scoring = request.scoring
    check_version(scoring)
    device = usable_device(request.device)
    if scoring.profile is ArithmeticProfile.F64 and device.startswith("mps"):
        raise UsageError("device 'mps' has no float64", hint="Calibrate 'cpu'.")
    different = differences(scoring.profile, device)
    known = read_known(Path(request.scorer))
    reference = read_reference(Path(request.reference))
    for part in (reference.train, reference.test):
        check_images(part, request.model, Path(request.reference))
    scorer = read_scorer(Path(request.scorer), profile=scoring.profile, device=device)
    found = known_scores(request.model, scoring, reference, scorer, device=device, report=report)
    return Calibrated(known, found.reports, different, found.score_ms(scoring.n))
