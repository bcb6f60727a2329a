"""How much settings of one machine move a score, and what the rule of agreement makes of it.

``python -m tests.diffusion.divergence FOLDER --checkpoints 210`` makes a task and checkpoints, scores them under every
setting (each in a process, one line of JSON per score, so that it goes on where it was stopped) and prints the three
tables of docs/portability.md. ``--tables`` prints them of what is there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from tests.diffusion.divergence.material import make_checkpoints, prepare
from tests.diffusion.divergence.settings import SETTINGS, Setting
from tests.diffusion.divergence.tables import print_tables


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoints", type=int, default=210)
    parser.add_argument("--copies", type=int, default=100, help="sets of reference images with noise")
    names = [setting.name for setting in SETTINGS]
    parser.add_argument("--settings", nargs="+", metavar="NAME", choices=names, default=names, help="only these")
    parser.add_argument("--jobs", type=int, default=1, help="settings measured side by side")
    parser.add_argument("--tables", action="store_true", help="measure nothing, print what is there")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    folder = arguments.folder.absolute()
    material = prepare(folder)
    if not arguments.tables:
        make_checkpoints(material, arguments.checkpoints)
        chosen = [setting for setting in SETTINGS if setting.name in arguments.settings]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            measured = [pool.submit(_measure, folder, some, len(material.names), arguments.copies) for some in chosen]
            for each in measured:
                each.result()
    print_tables(material)
    return 0


def _measure(folder: Path, setting: Setting, checkpoints: int, copies: int) -> None:
    """Score under one setting, in a process of its own, unless this machine lacks what it takes."""
    if setting.device == "cuda" and not torch.cuda.is_available():
        return
    command = [sys.executable, "-m", "tests.diffusion.divergence.measure"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(setting.threads), **setting.environment}
    subprocess.run([*command, str(folder), setting.name, str(checkpoints), str(copies)], env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main())
