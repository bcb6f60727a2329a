"""A score of folders as files: the worker's answer to ``pdfed score``."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Final

from diffusion.checkpoint import write_folder
from diffusion.progress import Report, silent
from diffusion.score.folders import FolderScore, Pair, score_folders
from diffusion.score.picture import write_pairs_picture
from pdfedchain.types.jobs import FoldersScored, ScoreFolders

__all__ = ["PAIRS_FILE", "PICTURE_FILE", "REPORT_FILE", "score_folders_to_files", "write_pairs_table"]

REPORT_FILE: Final = "report.json"
PAIRS_FILE: Final = "pairs.csv"
PICTURE_FILE: Final = "worst.png"


def score_folders_to_files(request: ScoreFolders, report: Report = silent) -> FoldersScored:
    """Score and write the files.

    Raises:
        DatasetError: a folder cannot be scored.
        UsageError: the output exists already.
    """
    score = score_folders(
        request.generated,
        request.train,
        request.test,
        scorer=request.scorer,
        novelty_weight=request.novelty_weight,
        cache=request.cache,
        profile=request.profile,
        device=request.device,
        report=report,
    )
    write_folder(Path(request.output), lambda folder: _write(folder, score, request))
    return FoldersScored(request.output)


def _write(folder: Path, score: FolderScore, request: ScoreFolders) -> None:
    memorised = sorted({pair.train for pair in score.pairs if pair.confirmed})
    plain = score.to_plain() | {"memorised": memorised}
    (folder / REPORT_FILE).write_text(json.dumps(plain, allow_nan=False), encoding="utf-8")
    write_pairs_table(folder / PAIRS_FILE, score.pairs)
    if shown := score.pairs[: request.shown]:
        write_pairs_picture(folder / PICTURE_FILE, Path(request.generated), Path(request.train), shown)


def write_pairs_table(path: Path, pairs: tuple[Pair, ...]) -> None:
    """All checked pairs as CSV, the most similar first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("generated", "train", "distance", "similarity", "confirmed"))
        table.writerows(
            (pair.generated, pair.train, f"{pair.distance:.9f}", f"{pair.similarity:.9f}", int(pair.confirmed))
            for pair in pairs
        )
