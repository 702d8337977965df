"""The verdict for those who decide."""

from __future__ import annotations

from collections.abc import Sequence

from fairlightning.functional.intervals import Verdict
from fairlightning.metrics import readable
from fairlightning.verification.results import ComparisonRow, Finding, SuccessCriterion

_OVERALL: dict[Verdict, str] = {
    "met": "The method passes: all success criteria are met in {seeds} trainings.",
    "not met": "The method does not pass: {failed}.",
    "not enough evidence": "It cannot be said yet that the method passes: not enough evidence for "
    "{open}.",
}
_NAMES = {
    "gap": "the improvement of the gap",
    "accuracy": "the bound on the loss of accuracy",
    "stability": "gains without harm to any group",
    "reproducibility": "reproducibility",
}


def summary(
    verdict: Verdict,
    criteria: Sequence[SuccessCriterion],
    comparison: Sequence[ComparisonRow],
    seeds: int,
) -> tuple[str, ...]:
    """Say the verdict, what it rests on, and what got worse for it, one sentence each."""
    failed = [_NAMES[c.name] for c in criteria if c.verdict == "not met"]
    undecided = [_NAMES[c.name] for c in criteria if c.verdict == "not enough evidence"]
    failure = f"{', '.join(failed)} {'is' if len(failed) == 1 else 'are'} not met"
    first = _OVERALL[verdict].format(seeds=seeds, failed=failure, open=", ".join(undecided))
    by_name = {criterion.name: criterion for criterion in criteria}
    sentences = [first]
    sentences += [_gap(finding) for finding in by_name["gap"].findings]
    sentences += [_accuracy(finding) for finding in by_name["accuracy"].findings]
    sentences += [f"{c.title[:1].upper()}{c.title[1:]}: {c.verdict}." for c in criteria[2:]]
    worse = [
        f"{readable(row.metric)} ({row.attribute}) from {row.baseline.mean:.3f} to "
        f"{row.intervention.mean:.3f}"
        for row in comparison
        if row.attribute and row.better is False
    ]
    if worse:
        sentences.append(f"Caution, this got visibly worse: {'; '.join(worse)}.")
    sentences += [f"{c.note[:1].upper()}{c.note[1:]}." for c in criteria if c.note]
    return tuple(sentences)


def _gap(found: Finding) -> str:
    if found.baseline is None or found.intervention is None or found.estimate.value is None:
        return f"The gap for {found.about} could not be compared."
    change = 100 * found.estimate.value
    verb = "fell" if change >= 0 else "rose"
    low, high = (
        "unknown" if limit is None else f"{100 * limit:.0f} %"
        for limit in (found.estimate.low, found.estimate.high)
    )
    return (
        f"The gap for {found.about} {verb} from {found.baseline:.3f} to {found.intervention:.3f}, "
        f"an improvement of {change:.0f} % (between {low} and {high}): {found.verdict}."
    )


def _accuracy(found: Finding) -> str:
    value, high = found.estimate.value, found.estimate.high
    if value is None or high is None or found.baseline is None or found.intervention is None:
        return "Accuracy could not be compared."
    return (
        f"Accuracy went from {found.baseline:.3f} to {found.intervention:.3f}, a loss of "
        f"{100 * value:.1f} points, at most {100 * high:.1f} ({found.note}): {found.verdict}."
    )
