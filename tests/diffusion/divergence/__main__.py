"""How much settings of one machine move a score, and what the rule of agreement makes of it.

``python -m tests.diffusion.divergence FOLDER --checkpoints 210`` makes a task and checkpoints, scores them under every
setting (one process after another, one line of JSON per score, so that it goes on where it was stopped) and prints the
three tables of docs/portability.md. ``--tables`` prints them of what is there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import torch

from tests.diffusion.divergence.material import make_checkpoints, prepare
from tests.diffusion.divergence.settings import SETTINGS
from tests.diffusion.divergence.tables import print_tables


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoints", type=int, default=210)
    parser.add_argument("--copies", type=int, default=100, help="sets of reference images with noise")
    parser.add_argument("--tables", action="store_true", help="measure nothing, print what is there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.folder.absolute()
    material = prepare(folder)
    if not arguments.tables:
        make_checkpoints(material, arguments.checkpoints)
        for setting in SETTINGS:
            if setting.device == "cuda" and not torch.cuda.is_available():
                continue
            command = [sys.executable, "-m", "tests.diffusion.divergence.measure"]
            environment = {**os.environ, "OMP_NUM_THREADS": str(setting.threads), **setting.environment}
            subprocess.run([*command, str(folder), setting.name, str(len(material.names))], env=environment, check=True)
    print_tables(material)
    return 0


if __name__ == "__main__":
    sys.exit(main())
