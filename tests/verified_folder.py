"""The folder of a verification on Adult, with everything that `fairlightning verify` leaves in it.

Networks are small and trained briefly, on one epoch of a part of the rows; their predictions, and
all that is computed from them, are real.
"""

import hashlib
import json
from datetime import date

import numpy as np
import pandas as pd
import torch
from helpers import quiet_trainer

from fairlightning.cli.results import PACKAGES, predictions
from fairlightning.data import BatchLoader, adult
from fairlightning.groups import GroupSpec
from fairlightning.models import MLP
from fairlightning.module import FairModule
from fairlightning.objectives import ParityPenalty
from fairlightning.verification import (
    Criterion,
    Front,
    FrontPoint,
    evaluate,
    read_metrics,
    write_front,
    write_metrics,
    write_predictions,
    write_verification,
)
from fairlightning.verification.checklist import Evidence, Statement
from fairlightning.verification.criteria import Bounds
from fairlightning.verification.protocol import Plan, Subject, material_of, repeated, verified
from fairlightning.verification.results import LambdaSensitivity, Reproducibility
from fairlightning.verification.robustness import lambda_sensitivity, shift_curves
from fairlightning.verification.shifts import Rows, ShiftSettings

GAP = "demographic_parity_difference"
SUBJECT = {"dataset": "adult", "model": "MLP", "method": "parity", "threshold": 0.5}
SHIFTS = ShiftSettings(
    tilt=(1.0,), balance=(1.0,), label_noise=(0.1,), missing=(0.2,), noise=(0.5,), corruption=(0.2,)
)
CONFIG = """\
model: {_target_: fairlightning.models.MLP, hidden: [16]}
method:
  strength: 5.0
  objectives: {parity: {_target_: fairlightning.objectives.ParityPenalty.build}}
"""


def verified_folder(folder, seeds=(0, 1)):
    """Write the folder, without audit, advice and decision, and return it."""
    plan = Plan(folder, seeds)
    for seed in seeds:
        data = adult(batch_size=512, seed=seed)
        data.setup()
        facts = {"packages": dict.fromkeys(PACKAGES, "1"), "data": data.describe()}
        models = [_run(plan, data, facts, seed, role) for role in ("baseline", "intervention")]
        subject = Subject(
            criterion="demographic_parity", attributes=("sex",), groups=data.groups, **SUBJECT
        )
        _write_curves(plan, data, subject, seed, models)
    first, again = (plan.file(seeds[0], role, "") for role in ("intervention", "repeat"))
    again.mkdir()
    (again / "predictions.parquet").write_bytes((first / "predictions.parquet").read_bytes())
    front = _front(plan)
    (folder / "config.yaml").write_text(f"{CONFIG}success: {{min_support: 100}}\n")
    identical, differing, largest, compared = repeated(plan)
    made = Reproducibility(
        identical, differing, largest, compared, "fairlightning verify method=parity", None,
        {"torch": torch.__version__}, {"cores": "2"}, {"rows": "45222"}, "config.yaml",
    )  # fmt: skip
    evidence = {1: Evidence(True, f"{len(seeds)} trainings", plan.sources("metrics.json"))}
    stated = {
        3: Statement(3, "Ann O'Neil", date(2026, 1, 31), "Equal rates, as *the* board | chose <b>")
    }
    sensitivity = lambda_sensitivity(front, 5.0, "around/front.json")
    found = verified(plan, subject, Bounds(), sensitivity, made, evidence, stated)
    write_verification(folder / "verification.json", found)
    return folder


def drawn_folder(folder, draw, sensitive, criterion="demographic_parity", seeds=(0, 1)):
    """Write a folder of made-up scores, without checkpoints and environments.

    Args:
        folder: Where.
        draw: From a seed to a table of `target`, the attributes, and `baseline` and `intervention`,
            their scores; every third row is validation.
        sensitive: Categories by attribute.
        criterion: What is judged.
        seeds: Seeds of the trainings.

    Returns:
        The verification.
    """
    plan, groups = Plan(folder, seeds), GroupSpec(sensitive)
    for seed in seeds:
        frame = draw(seed)
        row = np.arange(len(frame))
        split = np.where(row % 3 == 0, "val", "test")
        frame = frame.assign(row=row + seed * len(frame), split=split, member=0)
        for role in ("baseline", "intervention"):
            own = frame.drop(columns=["baseline", "intervention"]).assign(score=frame[role])
            plan.file(seed, role, "").mkdir(parents=True)
            write_predictions(plan.file(seed, role, "predictions.parquet"), own)
            write_metrics(
                plan.file(seed, role, "metrics.json"), evaluate(own, groups, intervals=None)
            )
            plan.file(seed, role, "config.yaml").write_text(CONFIG)
        path = plan.folder / plan.shifts(seed)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"curves": []}))
    first, again = (plan.file(seeds[0], role, "") for role in ("intervention", "repeat"))
    again.mkdir()
    (again / "predictions.parquet").write_bytes((first / "predictions.parquet").read_bytes())
    (folder / "config.yaml").write_text(f"{CONFIG}success: {{min_support: 100}}\n")
    made = Reproducibility(*repeated(plan), "fairlightning verify", None, {}, {}, {}, "config.yaml")
    subject = Subject(criterion=criterion, attributes=groups.names, groups=groups, **SUBJECT)
    sensitivity = LambdaSensitivity(None, (), {}, "no front", ())
    found = verified(plan, subject, Bounds(), sensitivity, made, {}, {})
    write_verification(folder / "verification.json", found)
    return found


def _run(plan, data, facts, seed, role):
    torch.manual_seed(seed)
    folder = plan.file(seed, role, "")
    (folder / "checkpoints").mkdir(parents=True)
    objectives = {"parity": ParityPenalty(data.groups, attributes=["sex"])}
    module = FairModule(
        MLP(data.num_numeric, data.cardinalities, hidden=[16]),
        data.groups,
        objectives=objectives if role == "intervention" else {},
        strength=5.0,
        learning_rate=1e-2,
    )
    trainer = quiet_trainer(folder, max_epochs=1, limit_train_batches=30, limit_val_batches=0)
    trainer.fit(module, BatchLoader(data.batch("train"), 512, shuffle=True, seed=seed))
    module.eval()
    torch.save({"state_dict": module.state_dict()}, folder / "checkpoints" / "best.ckpt")
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "environment.json").write_text(json.dumps(facts))
    frames = {s: predictions(module.network, data, s) for s in ("validation", "test")}
    write_predictions(folder / "predictions.parquet", pd.concat(frames.values()))
    records = evaluate(frames["validation"], "sex", intervals=None)
    records += evaluate(frames["test"], data.groups)
    write_metrics(folder / "metrics.json", records)
    return module


def _write_curves(plan, data, subject, seed, models):
    own = Plan(plan.folder, (seed,))
    material = material_of(own, subject)
    pair = material.test[0]
    frame = data.frame("test").sort_index()
    features = data.roles.features(data.frame("train"))
    codes = pair.codes(data.groups, data.groups.names)
    named = features.numeric, features.categorical
    table = data.prepared.labelled.frame
    rows = Rows(frame, pair.target, codes, pair.weight, *named, seed, table)

    def scorer(module):
        def scores(changed):
            with torch.no_grad():
                return torch.sigmoid(module.network(data.encode(changed))[0][:, 0].double()).numpy()

        return scores

    curves = shift_curves(rows, pair, [scorer(module) for module in models], material, SHIFTS)
    path = plan.folder / plan.shifts(seed)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"curves": curves}))


def _front(plan):
    points = []
    for role, strength in (("baseline", 0.0), ("intervention", 5.0)):
        records = read_metrics(plan.file(plan.seeds[0], role, "metrics.json"))
        kept = tuple(r for r in records if r.group is None)
        points.append(
            FrontPoint(role, {"strength": strength}, kept, plan.place(plan.seeds[0], role), "")
        )
    front = Front(
        "adult, MLP, parity", (Criterion("accuracy"), Criterion(GAP, "sex")), tuple(points),
        "baseline",
    )  # fmt: skip
    (plan.folder / "around").mkdir()
    write_front(plan.folder / "around" / "front.json", front)
    return front


def audit():
    """The content of an `audit.json`, with values that have to be escaped."""
    effect = {"value": 0.145, "low": 0.12, "high": 0.17}
    names = {"sex": "protected", "a<b>|c": "proxy", "age": "context", "income": "outcome"}
    return {
        "format": 1,
        "data": {"target": "income"},
        "variables": [
            {"name": name, "role": role, "declared": True, "kind": "numeric", "feature": True,
             "missing": 3}
            for name, role in names.items()
        ],
        "proxies": [
            {"feature": "a<b>|c", "attribute": "sex", "auroc": 0.87, "low": 0.86, "high": 0.88,
             "strength": "strong", "support": 27134}
        ],
        "base_rates": [
            {"attribute": "sex", "group": "sex=Female", "rate": 0.11, "low": 0.1, "high": 0.12,
             "support": 12}
        ],
        "missingness": [],
        "diagram": {"file": "causal_diagram.svg", "basis": "declared", "nodes": [],
                    "edges": [["sex", "income"]]},
        "pathways": [
            {"attribute": "sex", "node": "direct", "judgement": "unfair", "reason": "the same work"}
        ],
        "counterfactuals": [
            {"question": "had sex been Male for sex=Female", "attribute": "sex", "group": "Female",
             "instead": "Male", "rows": 1605, "base_rate": 0.108, "modelled": effect,
             "effect": effect, "by_judgement": {"fair": effect, "unfair": effect},
             "interaction": effect,
             "paths": [{"path": ["sex", "income"], "judgement": "unfair", **effect}],
             "examples": [{"row": 17, "place": "median effect", "observed": {"age": 37},
                           "counterfactual": {"age": {"value": 38, "share": 0.4}},
                           "probability": 0.12, "counterfactual_probability": 0.23}]}
        ],
        "counterfactuals_note": None,
        "recommendation": {"first": "in-processing", "stages": []},
        "assumptions": ["The declared arrows are right."],
        "uncertainties": ["Census data of 1994."],
    }  # fmt: skip


def advice():
    """The content of an `advice.json`."""
    way = {
        "name": "parity penalty",
        "technique": "regularisation",
        "reasons": ["one more term of the loss"],
        "trade_offs": {"training time": "1.21 times a plain step"},
    }
    return {
        "recommendation": way,
        "alternatives": [{**way, "name": "adversarial debiasing"}],
        "ruled_out": {"fair splitting": ["for trees"]},
        "cautions": ["Some groups are small"],
    }


def decision(folder):
    """The content of a `decision.json` on the front of the folder."""
    source = (folder / "around" / "front.json").read_bytes()
    (point,) = (p for p in json.loads(source)["points"] if p["id"] == "intervention")
    criteria = [("accuracy", None), (GAP, "sex")]
    values = {
        stage: [
            next(
                r
                for r in point["records"]
                if (r["stage"], r["metric"], r["attribute"]) == (stage, *criterion)
            )
            for criterion in criteria
        ]
        for stage in ("val", "test")
    }
    return {
        "version": 1,
        "front": {"sha256": hashlib.sha256(source).hexdigest()},
        "chosen": {"id": point["id"]},
        "values": values,
        "how": "manual",
        "within_bounds": True,
        "dominated": False,
        "weights": [],
        "bounds": [],
        "reason": "The smaller gap <is> worth it",
        "by": "Ann O'Neil",
        "time": "2026-01-31T10:00:00Z",
    }
