"""Where to intervene: before, in or after training, from what the audit measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

from fairlightning.audit.proxies import TOGETHER

STRONG = 0.7
"""Area under the ROC curve from which features tell an attribute too well to leave it at that."""

FEW = 100
"""Rows of an intersection below which its rates are hardly known."""

UNEVEN = 0.05
"""Difference of the shares of missing values between two groups that is worth mending."""

Entries = Sequence[dict[str, Any]]


def recommend_stage(
    base_rates: Entries,
    proxies: Entries,
    missing: Entries,
    counterfactuals: Entries | None,
    dataset: str,
) -> dict[str, Any]:
    """Say which stage comes first, and what speaks for and against each.

    In-processing comes first where features tell an attribute (area of all together at least
    0.7), or an influence declared unfair is apart from 0: neither data without the attribute nor
    thresholds after training take these out of the model. Otherwise pre-processing, if base rates
    differ or values are missing unevenly; otherwise post-processing, if anything at all.

    Args:
        base_rates: What `counts.base_rates` gives.
        proxies: What `proxies.proxy_strengths` gives.
        missing: What `counts.missingness` gives.
        counterfactuals: What `effects.answers` gives; None where it was not asked.
        dataset: Arguments of the command line that name the data set.

    Returns:
        `{first, stages}` as `audit.json` has it.
    """
    told = _told(proxies)
    unfair = _unfair(counterfactuals or ())
    data = [*_apart(base_rates), *_uneven(missing), *_small(base_rates)]
    stages = [
        ("pre-processing", data, f"fairlightning train {dataset} method=erm sampling=reweighing"),
        ("in-processing", [*told, *unfair], f"fairlightning advise {dataset} model=mlp"),
        ("post-processing", [], "fairlightning evaluate PREDICTIONS --adjust-thresholds 0.05"),
    ]
    first = 1 if told or unfair else 0 if data else 2
    return {
        "first": stages[first][0],
        "stages": [
            {
                "stage": name,
                "suitability": "recommended"
                if place == first
                else "useful"
                if reasons or (place == 2 and first == 0)
                else "not enough",
                "reasons": [*reasons, _REMARKS[name]],
                "command": command,
            }
            for place, (name, reasons, command) in enumerate(stages)
        ],
    }


_REMARKS = {
    "pre-processing": "reweighing makes label and group independent in the training rows, and "
    "works with any model; it cannot see what the model makes of proxies",
    "in-processing": "acts on what the model decides, proxies included; needs the training to be "
    "yours",
    "post-processing": "works on a model that cannot be trained again; thresholds of each group "
    "need the group of every person at decision time, and change no ranking within a group",
}


def _told(proxies: Entries) -> list[str]:
    return [
        f"without {entry['attribute']}, the features tell it with an area under the ROC curve of "
        f"{entry['auroc']:.2f} (0.5 is chance): leaving it out of the inputs is not enough"
        for entry in proxies
        if entry["feature"] == TOGETHER and entry["auroc"] >= STRONG and entry["strength"] != "none"
    ]


def _unfair(counterfactuals: Entries) -> list[str]:
    found = []
    for entry in counterfactuals:
        sums = entry["by_judgement"]["unfair"]
        if sums["low"] is not None and (sums["low"] > 0 or sums["high"] < 0):
            found.append(
                f"{entry['question']}, the positive label would be "
                f"{100 * sums['value']:+.1f} points more frequent along paths declared unfair "
                f"({100 * sums['low']:+.1f} to {100 * sums['high']:+.1f})"
            )
    return found


def _apart(base_rates: Entries) -> list[str]:
    found = []
    for attribute in dict.fromkeys(
        e["attribute"] for e in base_rates if " & " not in e["attribute"]
    ):
        pair = _farthest([e for e in base_rates if e["attribute"] == attribute])
        if pair is not None:
            low, high = pair
            found.append(
                f"base rates of {attribute} differ: {low['rate']:.1%} of {low['group']}, "
                f"{high['rate']:.1%} of {high['group']}"
            )
    return found


def _uneven(missing: Entries) -> list[str]:
    found = []
    keys = dict.fromkeys((e["column"], e["attribute"]) for e in missing if e["attribute"])
    for column, attribute in keys:
        of = [e for e in missing if (e["column"], e["attribute"]) == (column, attribute)]
        pair = _farthest(of)
        if pair is not None and pair[1]["rate"] - pair[0]["rate"] >= UNEVEN:
            low, high = pair
            found.append(
                f"{column} is missing for {high['rate']:.1%} of {high['group']} and "
                f"{low['rate']:.1%} of {low['group']}"
            )
    return found


def _farthest(entries: Entries) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Of the groups whose intervals tell them apart, the two with the most different rates.

    Looking at the lowest and highest rate of all alone, a group of few rows would hide the others.
    """
    pairs = [(low, high) for low, high in permutations(entries, 2) if low["high"] < high["low"]]
    return max(pairs, key=lambda pair: pair[1]["rate"] - pair[0]["rate"], default=None)


def _small(base_rates: Entries) -> list[str]:
    small = [e for e in base_rates if 0 < e["support"] < FEW]
    if not small:
        return []
    least = min(small, key=lambda e: e["support"])
    return [
        f"{len(small)} groups and intersections have fewer than {FEW} rows, {least['group']} only "
        f"{least['support']}: sampling=balanced shows them more often"
    ]
