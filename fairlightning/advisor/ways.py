"""Ways to a fair model, each with what it costs and how to run it here."""

from __future__ import annotations

from fairlightning.advisor.options import Measured, Option

STEP = "python benchmarks/step.py"
ADULT = "python benchmarks/adult.py"

_PLAIN = "the model alone is deployed, and needs no group"
_NO_CHANGE = "that of the model"
_SECONDS = "seconds: six to ten passes over the rows"
_COEFFICIENTS = "coefficients, and a multiplier that says what the bound costs"
_CONFLICT = Measured(
    "on Adult, demographic-parity difference for sex from 0.178 to 0.069 for 0.66 points of "
    "accuracy, while the equal-opportunity difference rises from 0.052 to 0.192",
    ("0.178", "0.069", "0.66", "0.052", "0.192"),
    ADULT,
)
_PARITY = Measured(
    "on Adult, demographic-parity difference for sex from 0.178 to 0.076 for 0.48 points of "
    "accuracy",
    ("0.178", "0.076", "0.48"),
    f"{ADULT} --method parity",
)
_PARITY_OPPORTUNITY = Measured(
    "on Adult, equal-opportunity difference for sex from 0.052 to 0.018 for 0.09 points of "
    "accuracy",
    ("0.052", "0.018", "0.09"),
    f"{ADULT} --method parity --criterion equal_opportunity",
)
_PROJECTED = Measured(
    "on Adult, demographic-parity difference for sex from 0.178 to 0.067 for 0.60 points of "
    "accuracy",
    ("0.178", "0.067", "0.60"),
    f"{ADULT} --method projection",
)
_BOOSTED = Measured(
    "twelve strengths in 52 s, where exponentiated gradient takes 223 s for six bounds",
    ("52 s", "223 s"),
    "python benchmarks/boosting.py",
)
_FRONT = Measured(
    "sixteen strengths trained together take 0.245 (batch 1,024) of the time of sixteen trainings; "
    "one network for every λ takes 1.145 times one training",
    ("0.245", "1.145"),
    "python benchmarks/front_speed.py",
)

OPTIONS: dict[str, Option] = {
    "convex_reweighed": Option(
        "constraint optimisation with optimisation-based reweighing",
        "constraints",
        "bounds the difference of mean logits in a convex program, on rows whose weights make "
        "group and label independent at the least distance from 1",
        ("method=constrained", "epsilon_logit=0.1", "sampling=optimised_reweighing"),
        f"{_SECONDS}; weights are a program with one unknown per group and label",
        _COEFFICIENTS,
        _PLAIN,
        "the same optimum every time, with a certificate; the bound is one on logits, so look at "
        "the rates",
        passes=True,
        bounded=True,
        proof=True,
    ),
    "convex_thresholds": Option(
        "constraint optimisation with adjusted thresholds",
        "constraints",
        "bounds the difference of mean logits among rows of label 1, then chooses the best "
        "thresholds on validation rows under which true positive rates are close",
        ("method=constrained", "epsilon_logit=0.1"),
        f"{_SECONDS}, and seconds for thresholds",
        _COEFFICIENTS,
        "a threshold for each group needs the group at decision time; --shared has one for all",
        "the same optimum every time, with a certificate; thresholds are exact on validation rows, "
        "which says less of other rows where a group is small",
        passes=True,
        bounded=True,
        proof=True,
        thresholds=True,
    ),
    "convex_bounds": Option(
        "constraint optimisation",
        "constraints",
        "bounds the difference of mean logits in a convex program",
        ("method=constrained", "epsilon_logit=0.1"),
        _SECONDS,
        _COEFFICIENTS,
        _PLAIN,
        "the same optimum every time, with a certificate; the bound is one on logits, so look at "
        "the rates",
        passes=True,
        bounded=True,
        proof=True,
    ),
    "similarity": Option(
        "similarity-based regularisation",
        "regularisation",
        "penalises pairs of rows whose scores differ by more than L times their distance",
        ("method=similarity",),
        "pairs of each batch on top of a plain step",
        _NO_CHANGE,
        _PLAIN,
        "as good as the distance: decide which columns it may see",
    ),
    "fair_splitting": Option(
        "fair splitting",
        "regularisation",
        "a split gains by bringing the groups' rates together as well as by telling the labels",
        ("method=parity",),
        "that of boosting, with a gradient over all rows in each round",
        "trees and importances as of any boosted model",
        f"{_PLAIN}; LightGBM's own text",
        "deterministic; the number of trees is chosen by the fair loss on validation",
        (_BOOSTED,),
        passes=True,
    ),
    "fair_splitting_weighted": Option(
        "fair splitting with weighted samples",
        "regularisation",
        "only rows of the label in question carry the penalty's part of the gradient",
        ("method=parity",),
        "that of boosting, with a gradient over all rows in each round",
        "trees and importances as of any boosted model",
        f"{_PLAIN}; LightGBM's own text",
        "deterministic; rests on the rows of label 1 alone, so small groups are uncertain",
        (_BOOSTED,),
        passes=True,
    ),
    "regularised_induction": Option(
        "regularised induction",
        "regularisation",
        "trees grown on the task loss and a penalty on similar rows with different scores",
        ("method=similarity",),
        "that of boosting, with pairs of rows in each round",
        "trees and importances as of any boosted model",
        f"{_PLAIN}; LightGBM's own text",
        "scores of trees jump at splits, so no strength brings every pair close",
        passes=True,
    ),
    "adversarial": Option(
        "adversarial debiasing",
        "adversarial",
        "a head guesses the group from the logit or the representation, and the network learns to "
        "leave it nothing to guess",
        ("method=adversarial",),
        "1.40 times a plain step on the logit, 1.49 on the representation",
        "that of the network; what the adversary found is no explanation",
        f"{_PLAIN}; the adversary stays behind",
        "a game of two: watch the gaps and not the adversary's loss; several seeds",
        (_CONFLICT, Measured("a training step takes 1.40 times a plain one", ("1.40",), STEP)),
        time_ratio=1.40,
    ),
    "fairness_head": Option(
        "multi-task learning with a fairness head",
        "adversarial",
        "a head for the groups of rows with label 1, which the shared representation learns not to "
        "serve",
        ("method=fairness_head",),
        "a small network on top of a plain step",
        "that of the network",
        f"{_PLAIN}; the head stays behind",
        "as adversarial debiasing; rests on rows of label 1 alone",
    ),
    "sensitive_gradient": Option(
        "gradient penalties",
        "regularisation",
        "penalises the slope of the score along the directions that give the attribute away",
        ("method=sensitive_gradient",),
        "a second look at the network for every batch",
        "the directions name the columns that count as proxies",
        _PLAIN,
        "linear directions only; a proxy that needs several columns at once may escape",
    ),
    "contrastive": Option(
        "contrastive learning",
        "regularisation",
        "draws rows of one label together in the representation, whatever their group",
        ("method=contrastive",),
        "pairs of each batch on top of a plain step",
        "that of the network",
        _PLAIN,
        "needs batches in which every group and label occurs",
    ),
    "counterfactual": Option(
        "counterfactual consistency",
        "regularisation",
        "penalises the change of the score when attribute and declared proxies are flipped",
        ("method=counterfactual", "dataset.include_sensitive=true"),
        "a second look at the network for every batch",
        "says for each row how much the flip would have changed",
        "the model takes the attribute as an input, and so needs it to predict",
        "as good as the declared flips: `fairlightning audit` shows what else changes",
    ),
    "parity": Option(
        "parity penalty",
        "regularisation",
        "penalises the largest gap between the groups' soft rates",
        ("method=parity",),
        "1.21 times a plain step",
        _NO_CHANGE,
        _PLAIN,
        "the most stable of the penalties; small batches overstate gaps: debiased=true there",
        (_PARITY, Measured("a training step takes 1.21 times a plain one", ("1.21",), STEP)),
        time_ratio=1.21,
    ),
    "parity_opportunity": Option(
        "parity penalty",
        "regularisation",
        "penalises the largest gap between the groups' soft true positive rates",
        ("method=parity",),
        "1.21 times a plain step",
        _NO_CHANGE,
        _PLAIN,
        "rests on rows of label 1; small batches overstate gaps, so use debiased=true there",
        (_PARITY_OPPORTUNITY,),
        time_ratio=1.21,
    ),
    "constrained": Option(
        "constraints by multipliers",
        "constraints",
        "minimises the task loss under a bound on the gap; the multiplier is found while training",
        ("method=constrained", "epsilon=0.05"),
        "one training in place of a sweep",
        "the multiplier says what the bound costs",
        _PLAIN,
        "keeps the best epoch that meets the bound on validation rows, and says if there is none",
        bounded=True,
    ),
    "projection": Option(
        "distance to the fair set",
        "regularisation",
        "penalises the distance of the batch's probabilities to the nearest fair ones",
        ("method=projection",),
        "a small convex program in each step",
        _NO_CHANGE,
        _PLAIN,
        "trains on one process only",
        (_PROJECTED,),
    ),
    "multi_objective": Option(
        "multi-objective optimisation",
        "multi_objective",
        "accuracy, fairness and small weights, weighed or traded off along a front",
        ("method=multi_objective",),
        "a whole front in the time of a few trainings",
        "the third aim keeps weights small",
        _PLAIN,
        "leaves a choice to make, with a page to make it on",
        (_FRONT,),
    ),
    "reweighing": Option(
        "reweighing, before training",
        None,
        "weights under which label and group are independent in the training rows",
        ("method=erm", "sampling=reweighing"),
        "none",
        _NO_CHANGE,
        _PLAIN,
        "cannot see what the model makes of proxies; rare cells get large weights",
        passes=True,
    ),
    "thresholds": Option(
        "adjusted thresholds, after training",
        None,
        "the best thresholds on validation rows under which true positive rates are close; works "
        "on the predictions of any model",
        ("method=erm",),
        "none, and seconds for thresholds",
        "one number for each group",
        "a threshold for each group needs the group at decision time; --shared has one for all",
        "exact on validation rows, which says less of other rows where a group is small",
        thresholds=True,
        bounded=True,
    ),
    "calibration": Option(
        "calibration penalty",
        "regularisation",
        "penalises scores that mean something else in another group",
        ("method=calibration",),
        "a term on top of a plain step",
        _NO_CHANGE,
        _PLAIN,
        "cannot be had together with equal error rates where base rates differ",
    ),
    "group_dro": Option(
        "distributionally robust optimisation over groups",
        "regularisation",
        "minimises the loss of the group that is worst off",
        ("method=group_dro",),
        "a term on top of a plain step",
        _NO_CHANGE,
        _PLAIN,
        "helps the worst group and says nothing of gaps; small groups make it noisy",
        stackable=False,
    ),
}
"""Every way that the advisor knows."""
