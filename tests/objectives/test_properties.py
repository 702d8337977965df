"""One suite of properties of every objective on scores and groups, and of the adversary."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck

from fairlightning.exceptions import ArgumentError
from fairlightning.functional import CRITERIA, GAPS
from fairlightning.functional.parity import numbers_of
from fairlightning.groups import GroupSpec
from fairlightning.objectives import (
    Adversary,
    AugmentedLagrangian,
    BoundedGroupLoss,
    CalibrationPenalty,
    DependencePenalty,
    Fairness,
    FairnessHead,
    GroupDRO,
    ParityPenalty,
    RateConstraint,
    Step,
)
from fairlightning.objectives.dependence import MEASURES

SPEC = GroupSpec({"sex": ["F", "M"], "race": ["a", "b", "c"]})


def cases():
    gaps = [gap for gap in GAPS if gap != "ratio"]
    for criterion, gap in itertools.product(CRITERIA, gaps):
        yield pytest.param(dict(criterion=criterion, gap=gap), id=f"{criterion}-{gap}")
        crossed = dict(criterion=criterion, gap=gap, intersections=True)
        yield pytest.param(crossed, id=f"{criterion}-{gap}-intersections")
    for criterion in CRITERIA:
        debiased = dict(criterion=criterion, gap="squared", debiased=True)
        yield pytest.param(debiased, id=f"{criterion}-debiased")
        for crossed in (False, True):
            constraint = dict(criterion=criterion, epsilon=0.0, intersections=crossed)
            name = f"{criterion}-constraint{'-intersections' * crossed}"
            yield pytest.param(constraint, id=name)
    measures = [measure for measure in MEASURES if measure != "hgr"]
    for criterion, measure in itertools.product(CRITERIA, measures):
        dependence = dict(criterion=criterion, measure=measure)
        yield pytest.param(dependence, id=f"{criterion}-{measure}")
    for measure in MEASURES:
        crossed = dict(criterion="equalized_odds", measure=measure, intersections=True)
        yield pytest.param(crossed, id=f"equalized_odds-{measure}-intersections")
    yield pytest.param(dict(criterion="predictive_parity"), id="predictive_parity")
    yield pytest.param(dict(criterion="accuracy_parity", intersections=True), id="accuracy_parity")
    yield pytest.param(dict(criterion="equalized_odds", gap="ratio", ratio=1.0), id="ratio")

    yield pytest.param(dict(step_size=0.1), id="group_dro")
    yield pytest.param(dict(zeta=0.5, intersections=True), id="bounded_group_loss")
    yield pytest.param(dict(bins=5, debiased=True), id="calibration")
    power = dict(bins=5, power=1, debiased=False, intersections=True)
    yield pytest.param(power, id="calibration, power 1")


WITHIN = {"zeta", "bins"}
"""Options of objectives on groups by themselves: a single one has a value, and equal ones may."""

parity = pytest.mark.parametrize("options", list(cases()))


def step(rows=60, seed=0, dtype=torch.float64, models=(), **fields):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(*models, rows, 1, generator=random, dtype=dtype)
    target = torch.randint(0, 2, (rows,), generator=random)
    sex = torch.randint(-1, 2, (rows,), generator=random)
    race = torch.randint(-1, 3, (rows,), generator=random)
    made = dict(logits=logits, target=target, sensitive=torch.stack([sex, race], 1))
    return Step(**(made | fields))


def build(options, groups=SPEC):
    kinds = {"measure": DependencePenalty, "step_size": GroupDRO, "bins": CalibrationPenalty}
    for name, kind in kinds.items():
        if name in options:
            return kind(groups, **options)
    if "zeta" in options:
        bounded = BoundedGroupLoss(groups, **options)
        bounded.multipliers.value.fill_(1.0)
        return bounded
    if "epsilon" not in options:
        return ParityPenalty(groups, **options)
    # The weights max(0, c) depend on the batch alone, so that groups can be renamed or left out.
    return RateConstraint(groups, multipliers=AugmentedLagrangian(penalty=1.0), **options)


def value(options, batch, groups=SPEC):
    return build(options, groups)(batch).value


@parity
def test_not_negative_and_finite(options):
    for seed in range(5):
        found = value(options, step(seed=seed))
        assert torch.isfinite(found)
        signed = {"epsilon", "debiased", "zeta", "step_size"} & options.keys()
        bounded = not signed and options.get("measure") != "hgr"
        assert -1e-12 <= found <= 1 or not bounded


@parity
def test_zero_for_identical_groups(options):
    logits = torch.randn(10, 1, dtype=torch.float64)
    target = torch.randint(0, 2, (10,))
    cells = [(sex, race) for sex in range(2) for race in range(3)]
    sensitive = torch.tensor(cells).repeat_interleave(10, 0)
    batch = Step(logits=logits.repeat(6, 1), target=target.repeat(6), sensitive=sensitive)
    found = value(options, batch).item()
    if options.get("debiased") and "bins" not in options:
        assert found <= 0
    elif not WITHIN & options.keys():
        assert found == pytest.approx(0, abs=1e-12)


@parity
def test_row_order_does_not_matter(options):
    batch = step()
    order = torch.randperm(60)
    shuffled = Step(batch.logits[order], batch.target[order], batch.sensitive[order])
    assert torch.allclose(value(options, batch), value(options, shuffled))


@parity
def test_names_of_groups_do_not_matter(options):
    batch = step()
    renamed = GroupSpec({"sex": ["M", "F"], "race": ["c", "a", "b"]})
    mapping = [torch.tensor([1, 0, -1]), torch.tensor([1, 2, 0, -1])]
    sensitive = torch.stack([m[batch.sensitive[:, i]] for i, m in enumerate(mapping)], 1)
    other = Step(batch.logits, batch.target, sensitive)
    assert torch.allclose(value(options, batch), value(options, other, renamed))


@parity
def test_absent_group_is_explicit_and_harmless(options):
    batch = step()
    sensitive = batch.sensitive.clone()
    sensitive[sensitive[:, 1] == 2, 1] = 1
    found = build(options)(Step(batch.logits, batch.target, sensitive))
    without = GroupSpec({"sex": ["F", "M"], "race": ["a", "b"]})
    expected = value(options, Step(batch.logits, batch.target, sensitive), without)
    assert torch.allclose(found.value, expected)
    absent = next(s for name, s in found.support.items() if "race" in name)
    assert (absent[..., 2::3] == 0).all()


@parity
@pytest.mark.parametrize("case", ["unknown", "one group", "no positives", "one row", "empty"])
def test_what_cannot_be_estimated_gives_zero_and_a_finite_gradient(options, case):
    batch = step(rows={"one row": 1, "empty": 0}.get(case, 60))
    sensitive, target = batch.sensitive.clone(), batch.target
    if case == "unknown":
        sensitive.fill_(-1)
    elif case == "one group":
        sensitive.fill_(1)
    elif case == "no positives":
        target = torch.zeros_like(target)
    logits = batch.logits.clone().requires_grad_()
    term = build(options)(Step(logits, target, sensitive))
    (gradient,) = torch.autograd.grad(term.value, logits)
    assert torch.isfinite(gradient).all()
    estimable = case in ("one group", "one row") and WITHIN & options.keys()
    if case != "no positives" and not estimable:
        assert term.value == 0
        assert (gradient == 0).all()
    elif options.get("criterion") == "equal_opportunity":
        assert term.value == 0
        assert all((support == 0).all() for support in term.support.values())


@parity
def test_gradcheck(options):
    if "bins" in options:
        pytest.skip("its bins are held fixed, so that the gradient is not that of the value")
    batch = step(rows=24, seed=3)
    penalty = build(options)
    logits = batch.logits.clone().requires_grad_()

    def loss(logits):
        return penalty(Step(logits, batch.target, batch.sensitive)).value

    assert gradcheck(loss, (logits,))


@parity
def test_models_together_equal_a_loop_and_vmap(options):
    batch = step(models=(4,))
    penalty = build(options)

    def one(logits):
        return penalty(Step(logits, batch.target, batch.sensitive)).value

    looped = torch.stack([one(logits) for logits in batch.logits])
    assert torch.allclose(penalty(batch).value, looped)
    assert torch.allclose(torch.vmap(one)(batch.logits), looped)


@parity
def test_bfloat16_autocast_stays_close(options):
    exact = value(options, step(rows=2000))
    batch = step(rows=2000)
    low = Step(batch.logits.bfloat16(), batch.target, batch.sensitive)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value(options, low)
        same = value(options, Step(batch.logits.float(), batch.target, batch.sensitive))
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), exact, atol=2e-3)
    assert torch.allclose(same.double(), exact, atol=1e-6)


@parity
def test_compiles_in_one_graph(options):
    torch.compiler.reset()
    batch = step()
    penalty = build(options)

    def loss(logits, target, sensitive):
        return penalty(Step(logits, target, sensitive)).value

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    logits = batch.logits.clone().requires_grad_()
    expected = loss(logits, batch.target, batch.sensitive)
    found = compiled(logits, batch.target, batch.sensitive)
    assert torch.allclose(found, expected)
    ours, theirs = (torch.autograd.grad(x, logits)[0] for x in (found, expected))
    assert torch.allclose(ours, theirs)


@parity
def test_sums_of_pieces_are_the_sums_of_the_whole(options):
    batch = step()
    penalty = build(options)
    if not penalty.additive:
        pytest.skip("whole distributions do not follow from sums: mean over batches")
    pieces = [
        penalty.sums(Step(batch.logits[s], batch.target[s], batch.sensitive[s]))
        for s in (slice(0, 13), slice(13, 14), slice(14, 60))
    ]
    whole = [sum(parts) for parts in zip(*pieces, strict=True)]
    assert torch.allclose(penalty.term(whole).value, penalty(batch).value)


@parity
def test_row_weight_equals_repeated_rows(options):
    batch = step(rows=30)
    count = torch.arange(30) % 3
    repeated = [part.repeat_interleave(count, 0) for part in (batch.logits, batch.target)]
    sensitive = batch.sensitive.repeat_interleave(count, 0)
    if options.get("debiased") and "bins" in options:
        return  # weights are shares of rows that differ, see its docstring
    if options.get("debiased"):
        with pytest.raises(ValueError, match="row weights"):
            value(options, step(rows=30, row_weight=count.double()))
        return
    found = value(options, step(rows=30, row_weight=count.double()))
    assert torch.allclose(found, value(options, Step(*repeated, sensitive)))


@parity
@pytest.mark.parametrize("weight", [0.0, 1e-6])
def test_rows_that_weigh_little_leave_a_finite_gradient_at_any_lambda(options, weight):
    if options.get("debiased") and "bins" not in options:
        return  # refuses row weights
    batch = step(dtype=torch.float32, row_weight=torch.full((60,), weight))
    logits = batch.logits.requires_grad_()
    (gradient,) = torch.autograd.grad(100 * value(options, batch), logits)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("objective", [Adversary, FairnessHead])
def test_weights_may_be_whole_numbers_and_are_finite(objective):
    fairness = Fairness(SPEC)
    fairness.add("it", objective(SPEC, in_features=5))
    batch = step(dtype=torch.float32, representation=torch.randn(60, 5))

    def loss(weight):
        return fairness(torch.tensor(0.0), batch._replace(row_weight=weight))

    weight = torch.arange(60) % 3
    assert torch.equal(loss(weight), loss(weight.float()))
    assert torch.equal(loss(weight > 0), loss((weight > 0).float()))
    with pytest.raises(ArgumentError, match="finite"):
        loss(torch.where(weight > 0, torch.inf, 1.0))


@parity
def test_meta_device_runs_without_reading_values(options):
    batch = step()
    parts = [part.to("meta") for part in (batch.logits, batch.target, batch.sensitive)]
    assert build(options).to("meta")(Step(*parts)).value.device.type == "meta"


def test_saturated_logits_stay_finite():
    logits = torch.tensor([[-1e4], [1e4], [1e38], [-1e38]], requires_grad=True)
    batch = Step(logits, torch.tensor([0, 1, 1, 0]), torch.tensor([[0, 0], [1, 1], [0, 2], [1, 0]]))
    found = ParityPenalty(SPEC)(batch).value
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize(
    ("feed", "options"),
    [
        ("representation", {}),
        ("logits", {}),
        ("both", {}),
        ("representation", {"heads": 2, "standardise": True}),
        ("both", {"separate": True}),
    ],
)
def test_adversary_under_absence_vmap_weights_and_compile(criterion, feed, options):
    torch.compiler.reset()
    batch = step(models=(3,), representation=torch.randn(3, 60, 5, dtype=torch.float64))
    sizes = {"representation": 5, "logits": 1}
    options = {"criterion": criterion, "feed": feed, "hidden": (7,), **options}
    adversary = Adversary.build(SPEC, sizes, **options).double()

    def one(logits, representation):
        part = Step(logits, batch.target, batch.sensitive, representation)
        return adversary(part).own

    inputs = (batch.logits, batch.representation)
    looped = torch.stack([one(*pair) for pair in zip(*inputs, strict=True)])
    assert torch.allclose(adversary(batch).own, looped)
    assert torch.allclose(torch.vmap(one)(*inputs), looped)
    compiled = torch.compile(one, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(*(x[0] for x in inputs)), looped[0])
    nobody = torch.full_like(batch.sensitive, -1)
    empty = Step(batch.logits, batch.target, nobody, batch.representation)
    assert (adversary(empty).own == 0).all()
    assert all((support == 0).all() for support in adversary(empty).support.values())


def test_debiased_leaves_out_groups_of_one_row_but_counts_them():
    groups = GroupSpec({"race": ["a", "b", "c"]})
    penalty = ParityPenalty(groups, gap="squared", debiased=True)
    logits = torch.randn(21, 1, dtype=torch.float64)
    race = torch.tensor([0] * 10 + [1] * 10 + [2]).unsqueeze(1)
    target = torch.zeros(21, dtype=torch.long)
    whole = penalty(Step(logits, target, race))
    without = penalty(Step(logits[:20], target[:20], race[:20]))
    assert torch.allclose(whole.value, without.value)
    assert whole.support["race"].tolist() == [[10, 10, 1]]


@pytest.mark.parametrize("criterion", ["demographic_parity", "equalized_odds", "equal_opportunity"])
@pytest.mark.parametrize("intersections", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", ["plain", "absent", "one group", "unknown", "no rows"])
def test_the_gap_among_numbers_is_that_of_tensors(criterion, intersections, weighted, case):
    batch = step(rows=0 if case == "no rows" else 60)
    sex, race = batch.sensitive.unbind(1)
    if case == "absent":
        race[race == 2] = 0
    elif case == "one group":
        sex[sex == 1] = 0
    elif case == "unknown":
        sex.fill_(-1)
    weight = torch.rand(len(batch.target), dtype=torch.float64).round(decimals=1)
    logits = batch.logits.requires_grad_()
    batch = batch._replace(row_weight=weight if weighted else None)
    penalty = ParityPenalty(SPEC, criterion=criterion, intersections=intersections)
    sums = penalty.sums(batch)
    assert numbers_of(*sums[:2]) is not None
    quick = penalty.term(sums)
    general = penalty.term([part.unsqueeze(0) for part in sums])  # as of one model among several
    assert quick.value.item() == pytest.approx(general.value.item(), abs=1e-12)
    one, other = (
        torch.autograd.grad(term.value.sum(), logits, retain_graph=True)[0]
        for term in (quick, general)
    )
    assert torch.allclose(one, other, atol=1e-12)
    for name, support in quick.support.items():
        assert torch.equal(support, general.support[name].squeeze(0))
    if case in ("plain", "absent"):
        assert quick.value > 0 and one.abs().sum() > 0


def test_many_groups_are_compared_as_tensors():
    groups = GroupSpec({"region": [str(i) for i in range(300)]})
    sensitive = torch.arange(600).remainder(300).unsqueeze(1)
    logits = torch.linspace(-1, 1, 600, dtype=torch.float64).unsqueeze(1)
    found = ParityPenalty(groups)(Step(logits, torch.ones(600).long(), sensitive)).value
    means = torch.sigmoid(logits).view(2, 300).mean(0)
    assert found.item() == pytest.approx((means.max() - means.min()).item())


def test_the_name_of_one_attribute_is_not_taken_for_its_letters():
    with pytest.raises(ArgumentError, match=r"found the text 'sex'.*pass attributes=\[sex\]"):
        ParityPenalty(SPEC, attributes="sex")
