"""What scoring a folder of images costs, measured by a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from node.benches.figures import Figure
from pdfedchain.errors import PdfedError

__all__ = ["bench_folder_score"]


def bench_folder_score(generated: int, train: int, device: str = "cpu") -> list[Figure]:
    """Figures of `diffusion.score.bench`: so many generated against so many training images of 32 pixels.

    Raises:
        PdfedError: the process failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "diffusion.score.bench", str(generated), str(train), device],
        capture_output=True,
        text=True,
        check=False,
        # threads that wait must sleep, as in the worker
        env={"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000", **os.environ},
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no word of why"]
        raise PdfedError(f"the measuring process ended with status {done.returncode}: {lines[-1]}")
    return [Figure(**figure) for figure in json.loads(done.stdout)["figures"]]
