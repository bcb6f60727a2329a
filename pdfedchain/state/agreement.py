"""What a set of revealed scores agrees on: integers in, one outcome out, the same in whatever order they come.

n electors, at most f < n/3 of them liars, quorum q > 2n/3.

- Reports form groups. Profile ``f64``: equal numbers of images, checked and confirmed pairs. Profile ``f32``, where one
  pair near a threshold may tip: all reports with the task's number of images, looked at once, when the window closes.
- The middle of a group is the lower median of each component. Reports with a component further than the tolerance
  from the middle leave the group; the settled score is the lower median of each component over those that stay.
- A group decides when it is a quorum that includes f+1 *early* commitments: ones that were final before revealing
  opened, hence before anybody could have copied. At least one of f+1 is honest.
- Findings that the weights cannot be scored are one group whatever their reason, under the same two conditions; the
  most frequent reason is settled, ties by the order in which scorers check.

Why liars cannot move a score: a quorum has at most f of them, hence an honest majority, and the lower median of a set
with an honest majority lies between two honest values. Why they cannot prevent one: the honest are a quorum, and
honest reports agree (`pdfedchain.types.score.ArithmeticProfile`). What agreement does *not* say: that the score is
right. More than f liars who agree beforehand can settle anything that nobody else prevotes against.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pdfedchain.ids import Address, Hash
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.ballot import Ballot
from pdfedchain.types.score import ArithmeticProfile, ScoreReport, ScoringSpec, Tolerance, Unscorable, UnscorableReason

__all__ = ["Agreement", "agreement_of"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """An outcome and the voters it rests on.

    Attributes:
        agreeing: voters of the deciding group, sorted.
        outliers: voters who revealed something else, sorted.
    """

    outcome: ScoreReport | Unscorable
    agreeing: tuple[Address, ...]
    outliers: tuple[Address, ...]


def agreement_of(
    ballots: Iterable[Ballot],
    *,
    electorate: AuthoritySet,
    scoring: ScoringSpec,
    reveal_height: int | None,
    window_closed: bool,
) -> Agreement | None:
    """What the revealed ballots of the electorate agree on; ``None`` where they do not, or not yet.

    Args:
        ballots: score ballots on one checkpoint, at most one per elector; sealed ones count for nothing.
        reveal_height: height from which ballots could be opened; commitments of earlier blocks are early.
        window_closed: whether the scoring deadline has passed, after which no ballot can be added.
    """
    if reveal_height is None:
        return None
    revealed = sorted((ballot for ballot in ballots if ballot.report is not None), key=lambda ballot: ballot.voter)
    for group in _groups(revealed, scoring, window_closed):
        early = sum(ballot.committed_height < reveal_height for ballot in group)
        if electorate.is_quorum(len(group)) and early > electorate.faults_max:
            agreeing = tuple(ballot.voter for ballot in group)
            outliers = tuple(ballot.voter for ballot in revealed if ballot not in group)
            return Agreement(_outcome(group), agreeing, outliers)
    return None


def _groups(revealed: Sequence[Ballot], scoring: ScoringSpec, window_closed: bool) -> list[list[Ballot]]:
    """Groups that could decide. Two quorums would overlap, so at most one of them does."""
    unscorable = [ballot for ballot in revealed if isinstance(ballot.report, Unscorable)]
    by_counts: dict[tuple[int, ...], list[Ballot]] = {}
    for ballot in revealed:
        report = ballot.report
        if isinstance(report, ScoreReport) and report.n == scoring.n:
            exact = scoring.profile is ArithmeticProfile.F64
            by_counts.setdefault((report.checked, report.confirmed) if exact else (), []).append(ballot)
    if scoring.profile is ArithmeticProfile.F32 and not window_closed:
        return [unscorable]
    return [unscorable, *(_near_the_middle(group, scoring.tolerance) for group in by_counts.values())]


def _near_the_middle(group: list[Ballot], tolerance: Tolerance) -> list[Ballot]:
    middle = _middle(group)
    return [ballot for ballot in group if middle.agrees_with(_report(ballot), tolerance)]


def _outcome(group: Sequence[Ballot]) -> ScoreReport | Unscorable:
    if not isinstance(group[0].report, Unscorable):
        return _middle(group)
    counts = Counter(ballot.report.reason for ballot in group if isinstance(ballot.report, Unscorable))
    # max keeps the first of equals, and the reasons are listed in the order of checking.
    return Unscorable(max(UnscorableReason, key=lambda reason: counts[reason]))


def _middle(group: Sequence[Ballot]) -> ScoreReport:
    """The lower median of each component. ``confirmed <= checked`` survives, since it holds in each report."""
    reports = [_report(ballot) for ballot in group]
    return ScoreReport(
        n=reports[0].n,
        checked=_lower_median(report.checked for report in reports),
        confirmed=_lower_median(report.confirmed for report in reports),
        v_a_micro=_lower_median(report.v_a_micro for report in reports),
        v_c_micro=_lower_median(report.v_c_micro for report in reports),
        fid_micro=_lower_median(report.fid_micro for report in reports),
        images_hash=_most_frequent(report.images_hash for report in reports),
    )


def _lower_median(values: Iterable[int]) -> int:
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]


def _most_frequent(hashes: Iterable[Hash]) -> Hash:
    """Diagnostic only: with several, the smallest of the most frequent."""
    counts = Counter(hashes)
    return min(counts, key=lambda value: (-counts[value], value))


def _report(ballot: Ballot) -> ScoreReport:
    assert isinstance(ballot.report, ScoreReport), "groups of scores hold scores"
    return ballot.report
