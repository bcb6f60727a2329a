"""Campaigns of millions of inputs over all targets: ``make fuzz``.

Every target first gets its least number of inputs; then all get more in turn until the total is reached. Each run is a
process of its own: guided by coverage (`tests.fuzz.one`), and for a target too slow for that, one such run and then
inputs near those that it has collected (`tests.fuzz.plain`). What has been done is kept in ``build/fuzz``: the corpus
of every target and the count, so that a campaign that was stopped goes on where it was. A finding stops it and names
the command that shows it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.target import Target
from tests.fuzz.targets import all_targets

#: A run ends at the first of these. A campaign that is stopped loses one run of each job.
_BATCH_INPUTS = 100_000
_BATCH_S = 60
_TIMEOUT_S = 20
#: Memory of an idle process with everything imported.
_IDLE_MIB = 320


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run ended.

    Attributes:
        finding: what the process printed, if it found something.
    """

    inputs: int
    peak_mib: int
    slowest_s: int
    finding: str | None


def corpus_of(build: Path, target: Target) -> Path:
    """The folder of a target's inputs, with its seeds."""
    corpus = build / "corpus" / target.name.replace("/", "_")
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    return corpus


def run_one(build: Path, target: Target, inputs: int, seed: int, guided: bool) -> Outcome:
    """Give a target this many inputs in a process of its own, guided by coverage or not."""
    findings = build / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    artifact = f"{findings}/{target.name.replace('/', '_')}-"
    rss_limit_mib = _IDLE_MIB + target.memory_mib
    corpus = str(corpus_of(build, target))
    by_coverage = [
        "tests.fuzz.one", target.name,
        f"-runs={inputs}", f"-max_total_time={_BATCH_S}", f"-seed={seed}",
        f"-timeout={_TIMEOUT_S}", f"-rss_limit_mb={rss_limit_mib}",
        f"-artifact_prefix={artifact}", "-print_final_stats=1", "-verbosity=0", corpus,
    ]  # fmt: skip
    near_it = [
        "tests.fuzz.plain", target.name, corpus,
        f"--inputs={inputs}", f"--wall-s={_BATCH_S}", f"--seed={seed}",
        f"--timeout-s={_TIMEOUT_S}", f"--rss-limit-mib={rss_limit_mib}", f"--artifact={artifact}{seed}",
    ]  # fmt: skip
    command = [sys.executable, "-m", *(by_coverage if guided else near_it)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    figures = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
    finding = done.stdout[-2_000:] + done.stderr[-4_000:] if done.returncode else None
    return Outcome(
        int(figures.get("number_of_executed_units", 0)),
        int(figures.get("peak_rss_mb", 0)),
        int(figures.get("slowest_unit_time_sec", 0)),
        finding,
    )


class Campaign:
    """Counts per target, kept in a file."""

    def __init__(self, build: Path) -> None:
        self._path = build / "campaign.json"
        build.mkdir(parents=True, exist_ok=True)
        kept = json.loads(self._path.read_text()) if self._path.exists() else {}
        self.counts: dict[str, int] = kept.get("counts", {})
        self.peaks_mib: dict[str, int] = kept.get("peaks_mib", {})
        self.slowest_s: dict[str, int] = kept.get("slowest_s", {})
        self.slow: set[str] = {*kept.get("slow", ())}
        self.wall_s: float = kept.get("wall_s", 0.0)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def add(self, name: str, outcome: Outcome) -> None:
        """Count a run."""
        self.counts[name] = self.counts.get(name, 0) + outcome.inputs
        self.peaks_mib[name] = max(self.peaks_mib.get(name, 0), outcome.peak_mib)
        self.slowest_s[name] = max(self.slowest_s.get(name, 0), outcome.slowest_s)

    def save(self) -> None:
        """Write what is known, whole or not at all."""
        document = {
            "total": self.total,
            "wall_s": round(self.wall_s, 1),
            "counts": dict(sorted(self.counts.items())),
            "peaks_mib": dict(sorted(self.peaks_mib.items())),
            "slowest_s": dict(sorted(self.slowest_s.items())),
            "slow": sorted(self.slow),
        }
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(document, indent=1) + "\n")
        temporary.replace(self._path)


def next_runs(names: list[str], counts: dict[str, int], running: set[str], each: int, total: int) -> str | None:
    """The target to run next: the one with the fewest inputs, if it or the campaign lacks some.

    Of equals the decoders come last: they are many, alike and quick.
    """
    free = [name for name in names if name not in running]
    if not free:
        return None
    poorest = min(free, key=lambda name: (counts.get(name, 0), name.startswith("decode/")))
    enough = counts.get(poorest, 0) >= each and sum(counts.values()) + _BATCH_INPUTS * len(running) >= total
    return None if enough else poorest


def main() -> int:
    """Run or resume a campaign; status 1 for a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=100_000, help="least number of inputs of each target")
    parser.add_argument("--total", type=int, default=10_000_000, help="number of inputs in all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--build", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--only", default="", help="targets whose name contains this")
    options = parser.parse_args()
    targets = {name: target for name, target in all_targets().items() if options.only in name}
    campaign = Campaign(options.build)
    print(f"{len(targets)} targets, {campaign.total:,} inputs so far", flush=True)
    started_s, before_s = time.monotonic(), campaign.wall_s
    running: dict[Future[Outcome], str] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        while True:
            while len(running) < options.jobs:
                name = next_runs([*targets], campaign.counts, {*running.values()}, options.each, options.total)
                if name is None:
                    break
                seed = 1 + campaign.counts.get(name, 0) % 2**31
                guided = name not in campaign.slow
                running[pool.submit(run_one, options.build, targets[name], _BATCH_INPUTS, seed, guided)] = name
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name, outcome = running.pop(future), future.result()
                if outcome.finding is not None:
                    print(outcome.finding)
                    print(f"{name}: a finding; run it again with: python -m tests.fuzz.one {name} FILE")
                    for other in running:
                        other.cancel()
                    campaign.save()
                    return 1
                campaign.add(name, outcome)
                if outcome.inputs < _BATCH_INPUTS:
                    campaign.slow.add(name)
                campaign.wall_s = before_s + time.monotonic() - started_s
                campaign.save()
                print(
                    f"{campaign.wall_s:8.0f} s  {campaign.total:>12,} inputs  {name}: {outcome.inputs:,} more, "
                    f"peak {outcome.peak_mib} MiB, slowest {outcome.slowest_s} s",
                    flush=True,
                )
    poorest = min(targets, key=lambda name: campaign.counts.get(name, 0))
    print(
        f"{campaign.total:,} inputs over {len(targets)} targets in {campaign.wall_s:.0f} s without a finding; "
        f"the fewest, {campaign.counts.get(poorest, 0):,}, for {poorest}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
