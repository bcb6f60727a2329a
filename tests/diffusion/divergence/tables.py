"""The tables of docs/portability.md, from the reports that are there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from diffusion.score.spec import tolerance_of
from pdfedchain.ids import Address, Hash
from pdfedchain.state.agreement import Agreement, agreement_of
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.ballot import Ballot, BallotKind
from pdfedchain.types.score import ArithmeticProfile, ScoreReport, ScoringSpec
from tests.diffusion.divergence.material import STAGES, Material
from tests.diffusion.divergence.measure import IMAGES, PIXELS_KEPT
from tests.diffusion.divergence.settings import BASE, SETTINGS, Setting

__all__ = ["print_tables"]

Reports = dict[str, ScoreReport]
COMPONENTS = ("checked", "confirmed", "v_a_micro", "v_c_micro", "fid_micro")
_SHIFTS = (1, 2, 3, 5, 10, 30, 100, 300, 1_000)


def print_tables(material: Material) -> None:
    """All three."""
    reports = {setting.name: _read(material, setting.name) for setting in SETTINGS}
    scored = {name: found for name, found in reports.items() if found}
    print_divergence(material, scored)
    for profile in ArithmeticProfile:
        scoring = replace(
            material.prepared.scoring,
            profile=profile,
            n=IMAGES,
            tolerance=tolerance_of(profile, material.prepared.ceilings.fid_micro_max),
        )
        base, *others = [
            scored[setting.name]
            for setting in SETTINGS
            if setting.profile is profile and setting.is_allowed and setting.name in scored
        ]
        print_refusals(profile, scoring, [base, *others])
        print_attacks(profile, scoring, base)


def _read(material: Material, setting: str) -> Reports:
    path = material.folder / "reports" / f"{setting}.jsonl"
    if not path.exists():
        return {}
    lines = map(json.loads, path.read_text().splitlines())
    return {line["checkpoint"]: report_from(line["report"]) for line in lines}


def report_from(plain: dict[str, object]) -> ScoreReport:
    """A report from its JSON."""
    return ScoreReport(**{**plain, "images_hash": Hash(bytes.fromhex(str(plain["images_hash"])))})  # type: ignore[arg-type]


def print_divergence(material: Material, reports: dict[str, Reports]) -> None:
    """Largest difference of each component from float64 on one thread, over all checkpoints scored by both."""
    titles = ("setting", "scores", "pixels before rounding", "images that differ", "FID, relative", "V_A", "V_C")
    titles = (*titles, "checked", "confirmed", "QN, relative")
    print(f"| {' | '.join(titles)} |\n|" + "---|" * len(titles))
    base, weight = reports[BASE], material.prepared.scoring.novelty_weight
    for setting in SETTINGS:
        found = reports.get(setting.name, {})
        pairs = [(base[name], report) for name, report in found.items() if name in base]
        if not pairs or setting.name == BASE:
            continue
        fid = max(abs(a.fid_micro - b.fid_micro) / max(a.fid_micro, 1) for a, b in pairs)
        qn = max(abs(a.qn_micro(weight) - b.qn_micro(weight)) / max(a.qn_micro(weight), 1) for a, b in pairs)
        cells = [
            f"{_pixels(material, setting):.0e}",
            f"{sum(a.images_hash != b.images_hash for a, b in pairs)} of {len(pairs)}",
            f"{fid:.0e}",
            *(f"{_most(pairs, name) / 1e6:.0e}" for name in ("v_a_micro", "v_c_micro")),
            *(str(_most(pairs, name)) for name in ("checked", "confirmed")),
            f"{qn:.0e}",
        ]
        print(f"| {setting.name} | {len(pairs)} | " + " | ".join(cells) + " |")


def _most(pairs: Sequence[tuple[ScoreReport, ScoreReport]], name: str) -> int:
    return max(abs(getattr(a, name) - getattr(b, name)) for a, b in pairs)


def _pixels(material: Material, setting: Setting) -> float:
    """In grey levels of 255, over the checkpoints whose images were kept."""
    differences = [0.0]
    for name in material.names:
        paths = [material.folder / "reports" / f"{which} {name}.npy" for which in (BASE, setting.name)]
        if int(name[:4]) < PIXELS_KEPT and all(path.exists() for path in paths):
            first, second = (np.load(path).clip(-1, 1) for path in paths)
            differences.append(float(np.abs(first - second).max()) * 127.5)
    return max(differences)


def print_refusals(profile: ArithmeticProfile, scoring: ScoringSpec, settings: Sequence[Reports]) -> None:
    """Honest reports outside tolerance of each other, and quorums of settings that do not settle all reports alike."""
    every = sorted(set().union(*settings))
    names = [name for name in every if sum(name in reports for reports in settings) >= 2]
    pairs = refused = groups = unsettled = outliers = 0
    for name in names:
        found = [reports[name] for reports in settings if name in reports]
        for i, one in enumerate(found):
            for other in found[i + 1 :]:
                pairs += 1
                refused += not one.agrees_with(other, scoring.tolerance)
        agreed = agreement(found, scoring)
        groups += 1
        unsettled += agreed is None
        outliers += 0 if agreed is None else len(agreed.outliers)
    firsts = [next(reports[name] for reports in settings if name in reports) for name in names]
    confirmed, checked = sum(report.confirmed for report in firsts), sum(report.checked for report in firsts)
    print(
        f"\n{profile.value}: {len(names)} checkpoints and noisy sets under 2 to {len(settings)} settings, {checked}"
        f" pairs checked and {confirmed} confirmed: {refused} of {pairs} pairs of reports outside tolerance; {groups}"
        f" settlements among as many authorities: {unsettled} without agreement, {outliers} reports left out"
    )


def agreement(reports: Sequence[ScoreReport], scoring: ScoringSpec) -> Agreement | None:
    """What authorities with these reports settle."""
    members = tuple(Address((index + 1).to_bytes(32, "big")) for index in range(len(reports)))
    ballots = [
        Ballot(Hash(bytes(32)), BallotKind.SCORE, voter, Hash(bytes(32)), 1, 0, report, 3)  # type: ignore[arg-type]
        for voter, report in zip(members, reports, strict=True)
    ]
    return agreement_of(
        ballots, electorate=AuthoritySet(0, members), scoring=scoring, reveal_height=2, window_closed=True
    )


def print_attacks(profile: ArithmeticProfile, scoring: ScoringSpec, base: Reports) -> None:
    """Shares of false reports that three honest authorities of four leave out."""
    plain = [name for name in sorted(base) if name.isdigit()]
    others = [(name, plain[(index + len(plain) // 2) % len(plain)]) for index, name in enumerate(plain)]
    earlier = [(name, plain[index - 1]) for index, name in enumerate(plain) if int(name) % STAGES]
    longer = [(name.rstrip("+"), name) for name in base if name.endswith("+") and name.rstrip("+") in base]
    print(f"\n| {profile.value}: what a liar reports | caught |\n|---|---|")
    for what, pairs in (
        ("another checkpoint's score", others),
        ("that of the training before", earlier),
        ("that of the checkpoint trained 5 % longer", longer),
    ):
        caught = sum(is_caught(base[honest], base[false], scoring) for honest, false in pairs)
        print(f"| {what} | {caught} of {len(pairs)} |")
    for name in COMPONENTS:
        print(f"| {name.removesuffix('_micro')} shifted | {shifts_caught(name, scoring, base)} |")


def shifts_caught(name: str, scoring: ScoringSpec, base: Reports) -> str:
    """From how many tolerances on a shift of one component is always caught, and up to how many never is."""
    unit = max(getattr(scoring.tolerance, name), 1)
    shares = {}
    for shift in _SHIFTS:
        false = [(report, shifted(report, name, shift * unit)) for report in base.values()]
        possible = [(report, other) for report, other in false if other is not None]
        if possible:
            caught = sum(is_caught(report, other, scoring) for report, other in possible)
            shares[shift] = caught / len(possible)
    always = next((shift for shift in shares if all(shares[s] == 1 for s in shares if s >= shift)), None)
    never = max((shift for shift in shares if shares[shift] == 0), default=0)
    return f"never up to {never} tolerances of {unit}, always from {always or 'none of those tried'} on"


def shifted(report: ScoreReport, name: str, by: int) -> ScoreReport | None:
    """``None`` where that would be no report."""
    try:
        other = replace(report, **{name: getattr(report, name) + by})  # type: ignore[arg-type]
    except ValueError:
        return None
    return other if max(other.v_a_micro, other.v_c_micro) <= 1_000_000 else None


def is_caught(honest: ScoreReport, false: ScoreReport, scoring: ScoringSpec) -> bool:
    """Whether three who report the truth leave out a fourth, and settle the truth."""
    agreed = agreement([honest, honest, honest, false], scoring)
    assert agreed is not None
    assert isinstance(agreed.outcome, ScoreReport)
    assert agreed.outcome == honest or not agreed.outliers
    return len(agreed.outliers) == 1
