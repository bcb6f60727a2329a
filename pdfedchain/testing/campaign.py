"""Thousands of seeds: ``python -m pdfedchain.testing.campaign`` (``make sim``), over all cores, and resumable.

Seeds run in chunks. What a chunk came to is one line of JSON in the state file as soon as it is done; a campaign
that was interrupted goes on after the lines it finds. The file opens with a hash over the source of pdfedchain:
results of another version are moved aside and never mixed in. Audit hashes go into one digest, so two campaigns of
the same version can be compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pdfedchain
from pdfedchain.consensus.rules import Rule
from pdfedchain.testing.chaos import run_chaos, run_overload
from pdfedchain.testing.ledger_chaos import run_ledger

__all__ = ["Chunk", "Result", "main", "run_chunk"]

_RUNS: Final = {"chaos": run_chaos, "ledger": run_ledger, "overload": run_overload}
_CHUNK_SEEDS: Final = 10


@dataclass(frozen=True, slots=True)
class Chunk:
    """Seeds ``first`` up to ``first + count`` of one kind (``chaos``, ``ledger`` or ``overload``) and size."""

    kind: str
    size: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a chunk came to.

    Attributes:
        heights, events: of all its runs together.
        virtual_ms: simulated time of all its runs together.
        cpu_s: time it took.
        audits: SHA-256 over the audit hashes in order of seeds.
        counts: `Simulator.counts` of all its runs together.
        failures: (seed, what went wrong and the command to see it again).
    """

    chunk: Chunk
    heights: int
    events: int
    virtual_ms: int
    cpu_s: float
    audits: str
    counts: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[int, str]] = field(default_factory=list)


def run_chunk(chunk: Chunk) -> Result:
    """Run some seeds; a seed that fails is recorded, not raised."""
    started_s = time.process_time()
    audits, counts = hashlib.sha256(), Counter[str]()
    failures: list[tuple[int, str]] = []
    heights = events = virtual_ms = 0
    for seed in range(chunk.first, chunk.first + chunk.count):
        try:
            outcome = _RUNS[chunk.kind](seed, chunk.size)
        except Exception as error:  # noqa: BLE001 - whatever a seed finds is the result; the others run on
            failures.append((seed, "; ".join((repr(error), *getattr(error, "__notes__", ())))))
            continue
        audits.update(outcome.audit.encode())
        counts.update(outcome.counts)
        heights += outcome.height
        events += outcome.events
        virtual_ms += outcome.duration_ms
    cpu_s = round(time.process_time() - started_s, 3)
    return Result(chunk, heights, events, virtual_ms, cpu_s, audits.hexdigest(), dict(counts), failures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or resume a campaign; 0 if every seed holds."""
    options = _options(arguments)
    plan = list(_plan(options))
    version = _version()
    done = _resume(options.state, version, set(plan))
    left = [chunk for chunk in plan if chunk not in {result.chunk for result in done}]
    seeds = sum(chunk.count for chunk in plan)
    _say(f"{seeds} seeds, {seeds - sum(chunk.count for chunk in left)} of them done; {options.workers} at a time")
    started_s, before = time.monotonic(), len(done)
    try:
        with options.state.open("a") as file, closing(_results(left, options.workers)) as results:
            for result in results:
                done.append(result)
                file.write(json.dumps(asdict(result)) + "\n")
                file.flush()
                for seed, problem in result.failures:
                    _say(f"FAILED {result.chunk.kind}, {result.chunk.size} nodes, seed {seed}: {problem}")
                _progress(done, before, seeds, time.monotonic() - started_s)
    except KeyboardInterrupt:
        _say("stopped; the same command goes on from here")
        return 130
    report = _report(done, version)
    options.report.write_text(report)
    _say(f"{report}\nwritten to {options.report}")
    return 1 if any(result.failures for result in done) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pdfedchain.testing.campaign", description="Run many seeds.")
    parser.add_argument("--seeds", type=int, default=10_000, help="with at most f liars, shared by the sizes")
    parser.add_argument(
        "--ledger", type=int, default=2_000, help="seeds on the federated-learning ledger, beside these"
    )
    parser.add_argument("--overload", type=int, default=2_000, help="seeds with more than f liars, beside these")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 7], help="numbers of nodes")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=Path("build/sim"), help="for state.jsonl and report.md")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    options.state, options.report = options.folder / "state.jsonl", options.folder / "report.md"
    return options


def _plan(options: argparse.Namespace) -> Iterator[Chunk]:
    for kind, seeds in (("chaos", options.seeds), ("overload", options.overload), ("ledger", options.ledger)):
        each = seeds // len(options.sizes)
        for first in range(0, each, _CHUNK_SEEDS):
            for size in options.sizes:
                yield Chunk(kind, size, first, min(_CHUNK_SEEDS, each - first))


def _version() -> str:
    """Hash over the source of the package."""
    folder = Path(pdfedchain.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _resume(state: Path, version: str, plan: set[Chunk]) -> list[Result]:
    lines = state.read_text().splitlines() if state.exists() else []
    if lines and json.loads(lines[0]) == {"version": version}:
        found = (_result(line) for line in lines[1:] if line.endswith("}"))
        return [result for result in found if result.chunk in plan]
    if lines:
        state.rename(state.with_suffix(".old.jsonl"))
        _say("the source has changed since: starting anew")
    state.write_text(json.dumps({"version": version}) + "\n")
    return []


def _result(line: str) -> Result:
    read: dict[str, Any] = json.loads(line)
    failures = [(seed, problem) for seed, problem in read.pop("failures")]
    return Result(chunk=Chunk(**read.pop("chunk")), failures=failures, **read)


def _results(chunks: list[Chunk], workers: int) -> Generator[Result, None, None]:
    if workers == 1:
        yield from map(run_chunk, chunks)
        return
    pool = ProcessPoolExecutor(workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    try:
        for future in as_completed([pool.submit(run_chunk, chunk) for chunk in chunks]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _progress(done: list[Result], before: int, seeds: int, gone_s: float) -> None:
    ready, failures = sum(r.chunk.count for r in done), sum(len(r.failures) for r in done)
    fresh = sum(result.chunk.count for result in done[before:])
    left_s = gone_s / fresh * (seeds - ready)
    _say(f"{ready:6} of {seeds} seeds, {failures} failed; {gone_s / 60:.1f} min gone, {left_s / 60:.1f} min to go")


def _report(done: list[Result], version: str) -> str:
    lines = [
        "| seeds | chain | nodes | liars | failed | heights | events | simulated | CPU |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    kinds = sorted({(result.chunk.kind, result.chunk.size) for result in done})
    for kind, size in kinds:
        of_kind = [result for result in done if (result.chunk.kind, result.chunk.size) == (kind, size)]
        lines.append(_row(kind, size, of_kind))
    counts = sum((Counter(result.counts) for result in done), Counter[str]())
    lines += ["", "| taken | branch |", "|---|---|"]
    lines += [f"| {counts.pop(rule.name, 0):,} | {rule.name}: {rule.value} |" for rule in Rule]
    lines += ["", "| seen | what |", "|---|---|", *(f"| {n:,} | {name} |" for name, n in sorted(counts.items()))]
    ordered = sorted(done, key=lambda result: (result.chunk.kind, result.chunk.size, result.chunk.first))
    digest = hashlib.sha256("".join(result.audits for result in ordered).encode()).hexdigest()
    lines += ["", f"Source: {version}", f"Audits: {digest}", ""]
    lines += [f"FAILED seed {seed}: {problem}" for result in ordered for seed, problem in result.failures]
    return "\n".join(lines)


def _row(kind: str, size: int, results: Iterable[Result]) -> str:
    seeds = failed = heights = events = virtual_ms = 0
    cpu_s = 0.0
    for result in results:
        seeds, failed = seeds + result.chunk.count, failed + len(result.failures)
        heights, events = heights + result.heights, events + result.events
        virtual_ms, cpu_s = virtual_ms + result.virtual_ms, cpu_s + result.cpu_s
    faults = (size - 1) // 3
    liars = f"{faults + 1} to {size - 1}" if kind == "overload" else f"0 to {faults}"
    chain = "ledger" if kind == "ledger" else "counter"
    times = f"{virtual_ms / 3_600_000:,.0f} h | {cpu_s / 60:.1f} min"
    return f"| {seeds:,} | {chain} | {size} | {liars} | {failed} | {heights:,} | {events:,} | {times} |"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
