"""How often the audit's intervals of proxies hold the expected area, and noise is called a proxy.

Drawn rows: groups of equal size, one normal feature that is shifted for the first group, one of
noise. The expected area is the mean over the draws, and 0.5 for what tells nothing.

    python benchmarks/proxies.py [--draws 200]      # about ten minutes
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import pandas as pd

from fairlightning.audit.proxies import proxy_strengths
from fairlightning.groups import GroupSpec

SETTINGS = ((1800, 2, 0.0), (1800, 4, 0.0))
"""Rows, groups, and by how many standard deviations the feature of the first group is shifted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200)
    draws = parser.parse_args().draws
    figures = {}
    print("rows groups shift  feature                expected  missed  called a proxy")
    for rows, groups, shift in SETTINGS:
        found = [entry for seed in range(draws) for entry in _drawn(rows, groups, shift, seed)]
        for feature in dict.fromkeys(entry["feature"] for entry in found):
            told = pd.DataFrame([entry for entry in found if entry["feature"] == feature])
            nothing = feature == "noise" or shift == 0
            area = 0.5 if nothing else told["auroc"].mean()
            missed = ((told["low"] > area) | (told["high"] < area)).mean()
            called = (told["strength"] != "none").mean()
            key = f"{rows}_{groups}_{feature.replace(' ', '_')}"
            figures |= {f"{key}_missed": missed, f"{key}_called": called}
            about = f"{rows:4} {groups:6} {shift:5}  {feature:22}"
            print(f"{about} {area:8.3f} {missed:7.1%} {called:9.1%}", flush=True)
    print(json.dumps({name: round(float(value), 4) for name, value in figures.items()}))


def _drawn(rows: int, groups: int, shift: float, seed: int) -> list[dict[str, object]]:
    random = np.random.default_rng(seed)
    spec = GroupSpec({"group": list("abcd")[:groups]})
    group = random.integers(0, groups, rows)
    frame = pd.DataFrame(random.normal(size=(rows, 2)), columns=["shifted", "noise"])
    frame["shifted"] += shift * (group == 0)
    frame["group"] = np.array(list("abcd"))[group]
    return proxy_strengths(frame, ["shifted", "noise"], [], spec, spec.encode(frame))


if __name__ == "__main__":
    main()
