from copy import deepcopy
from functools import partial

import lightning as L
import pytest
import torch
from helpers import GROUPS, Both, Net, loaders, make_batch, quiet_trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn

from fairlightning.callbacks import LambdaRamp
from fairlightning.exceptions import ArgumentError, MissingFieldError, SetupError
from fairlightning.groups import GroupSpec
from fairlightning.mixins import AdversarialMixin, FairnessMixin, MultiObjectiveMixin, ParityMixin
from fairlightning.module import FairModule
from fairlightning.objectives import Adversary, ComplexityPenalty, Fairness, ParityPenalty


def gradients(module, batch):
    module.zero_grad()
    module.training_step(batch, 0).backward()
    return {name: p.grad.clone() for name, p in module.named_parameters()}


def only(module, **weights):
    for name in module.fairness.objectives:
        module.fairness.set_factor(name, weights.get(name, 0.0))


def test_encoder_gradient_depends_on_lambda_and_is_the_task_gradient_at_zero(module):
    batch = make_batch()
    logits, _ = module.net(batch.inputs)
    task = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], batch.target.float())
    plain = torch.autograd.grad(task, list(module.net.parameters()))
    names = [f"net.{name}" for name, _ in module.net.named_parameters()]
    only(module)
    at_zero = gradients(module, batch)
    for name, expected in zip(names, plain, strict=True):
        assert torch.allclose(at_zero[name], expected, atol=1e-8)
    only(module, adversarial=0.5)
    half = gradients(module, batch)
    only(module, adversarial=1.0)
    full = gradients(module, batch)
    moved = [full[n] - at_zero[n] for n in names if n.startswith("net.body")]
    assert max(m.abs().max() for m in moved) > 1e-4
    for name in names:
        # The reversed part is proportional to λ.
        assert torch.allclose(
            full[name] - at_zero[name], 2 * (half[name] - at_zero[name]), atol=1e-6
        )


def test_adversary_always_trains_at_full_strength(module):
    batch = make_batch()
    found = []
    for weight in (0.0, 0.1, 1.0, 7.0):
        only(module, adversarial=weight)
        found.append({n: g for n, g in gradients(module, batch).items() if "adversarial" in n})
    assert len(found[0]) == 4
    for other in found[1:]:
        for name, gradient in found[0].items():
            assert gradient.abs().max() > 0
            assert torch.equal(gradient, other[name])


def test_reversal_is_the_minimax_gradient(module):
    batch = make_batch()
    only(module, adversarial=0.8)
    joint = gradients(module, batch)
    only(module)
    plain = gradients(module, batch)
    objective = module.fairness.objectives["adversarial"]
    _, h = module.net(batch.inputs)
    guess = objective.head(h)
    losses = [
        nn.functional.cross_entropy(part, batch.sensitive[:, i], ignore_index=-1)
        for i, part in enumerate([guess[:, :2], guess[:, 3:]])
    ]
    weight = module.net.body[0].weight
    (expected,) = torch.autograd.grad(sum(losses) / 2, weight)
    name = "net.body.0.weight"
    assert torch.allclose(joint[name] - plain[name], -0.8 * expected, atol=1e-6)


def test_one_optimizer_with_a_faster_adversary(module):
    network, adversary = module.parameter_groups(1e-3)
    assert (network["lr"], adversary["lr"]) == (1e-3, 1e-2)
    counted = len(network["params"]) + len(adversary["params"])
    assert counted == len(list(module.parameters()))


@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.AdamW,
        partial(torch.optim.AdamW, foreach=True),
        partial(torch.optim.SGD, momentum=0.9),
        torch.optim.Adagrad,
        torch.optim.RMSprop,  # knows no fused update
    ],
)
def test_the_head_is_stepped_at_once_and_as_ever(optimizer):
    stepped = []
    for fused in (True, None):
        torch.manual_seed(0)
        model = FairModule(Net(), GROUPS, objectives={"adversarial": make_adversary()})
        network, adversary = model.parameter_groups(1e-3)
        assert "fused" not in network
        assert adversary["fused"]
        stepper = optimizer([network, adversary | {"fused": fused}], lr=1e-3)
        for seed in range(3):
            stepper.zero_grad()
            model.training_step(make_batch(seed=seed), 0).backward()
            stepper.step()
        stepped.append([p.detach() for p in model.parameters()])
    for one, other in zip(*stepped, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    (adversary,) = model.to("meta").fairness.parameter_groups(1e-3)
    assert adversary["fused"] is None


def test_clipping_accumulation_bf16_and_schedulers_work(tmp_path):
    torch.manual_seed(0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR
    model = FairModule(
        Net(), GROUPS, objectives={"adversarial": make_adversary()}, scheduler=scheduler
    )
    before = {n: p.clone() for n, p in model.named_parameters()}
    trainer = quiet_trainer(
        tmp_path, precision="bf16-mixed", accumulate_grad_batches=3, gradient_clip_val=0.5
    )
    trainer.fit(model, *loaders())
    assert trainer.global_step == 2 * 3
    assert all(not torch.equal(before[n], p) for n, p in model.named_parameters())
    assert trainer.optimizers[0].param_groups[0]["lr"] < 1e-6


def make_adversary(**options):
    from fairlightning.groups import GroupSpec

    return Adversary(GroupSpec(GROUPS), in_features=8, **options)


def test_groups_are_clipped_separately():
    model = FairModule(Net(), GROUPS, objectives={"adversarial": make_adversary()})
    optimizer = model.configure_optimizers()
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.full_like(p, 100.0 if group["name"] == "adversarial" else 1e-3)
    model.configure_gradient_clipping(optimizer, 1.0, "norm")
    network, adversary = optimizer.param_groups
    assert all(torch.allclose(p.grad, torch.full_like(p, 1e-3)) for p in network["params"])
    total = torch.stack([p.grad.norm() for p in adversary["params"]]).norm()
    assert total == pytest.approx(1.0, rel=1e-4)


def test_a_trained_module_can_be_copied_and_its_weights_averaged(tmp_path, module):
    quiet_trainer(tmp_path, max_epochs=1).fit(module, *loaders())
    module.training_step(make_batch(), 0).backward()  # what is returned keeps its graph
    assert torch.equal(deepcopy(module).net.head.weight, module.net.head.weight)
    averaging = StochasticWeightAveraging(1e-3)
    quiet_trainer(tmp_path, max_epochs=2, callbacks=[averaging]).fit(module, *loaders())


def test_checkpoint_loads_with_weights_only(tmp_path, module):
    trainer = quiet_trainer(tmp_path, callbacks=[LambdaRamp()])
    trainer.fit(module, *loaders())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    state = torch.load(tmp_path / "x.ckpt", weights_only=True)
    other = Both()
    other.load_state_dict(state["state_dict"])
    assert other.fairness.objectives["parity"].weight == 1.0


@pytest.mark.parametrize(
    "weights",
    [
        dict(fairness=3.0, interpretability=0.1),
        dict(parity={"weight": 3.0}, complexity={"weight": 0.1}),
    ],
)
def test_multi_objective_weighs_accuracy_fairness_and_interpretability(weights):
    class Model(MultiObjectiveMixin, L.LightningModule):
        def __init__(self):
            super().__init__(groups=GROUPS, multi_objective=dict(accuracy=2.0) | weights)
            self.net = Net()

    model = Model()
    batch = make_batch()
    logits, _ = model.net(batch.inputs)
    parameters = tuple(model.net.parameters())
    fields = dict(logits=logits, target=batch.target, sensitive=batch.sensitive)
    loss = model.fair_loss(torch.tensor(0.5), **fields, parameters=parameters)
    parts = model.fairness.last.losses.parts
    norm = sum(p.square().sum() for p in parameters if p.ndim > 1)
    assert parts["interpretability"].item() == pytest.approx(norm.item())
    expected = 2 * 0.5 + 3 * parts["fairness"] + 0.1 * parts["interpretability"]
    assert loss.item() == pytest.approx(expected.item())
    with pytest.raises(MissingFieldError, match="parameters"):
        model.fair_loss(torch.tensor(0.5), **fields)


def test_l1_complexity():
    from fairlightning.groups import GroupSpec
    from fairlightning.objectives import Step

    weight = torch.tensor([[1.0, -2.0]])
    penalty = ComplexityPenalty(GroupSpec(GROUPS), norm="l1")
    assert penalty(Step(parameters=[weight])).value == 3.0
    with pytest.raises(ArgumentError, match="no matrix among 1"):
        penalty(Step(parameters=[weight[0]]))


def test_parameters_may_be_iterated_but_once():
    class Model(FairnessMixin, L.LightningModule):
        pass

    net, batch = Net(), make_batch()
    penalties = {name: ComplexityPenalty(GroupSpec(GROUPS), norm=name) for name in ("l1", "l2")}
    model = Model(groups=GROUPS, objectives=penalties)
    fields = dict(logits=net(batch.inputs)[0], target=batch.target, sensitive=batch.sensitive)
    loss = model.fair_loss(torch.tensor(0.5), **fields, parameters=tuple(net.parameters()))
    assert model.fair_loss(torch.tensor(0.5), **fields, parameters=net.parameters()) == loss


def test_mistakes_have_named_errors():
    with pytest.raises(SetupError, match="LightningModule to the left"):

        class Wrong(L.LightningModule, ParityMixin):
            pass

    class Forgot(ParityMixin, L.LightningModule):
        def __init__(self):
            L.LightningModule.__init__(self)

    with pytest.raises(SetupError, match="did not run"):
        Forgot().fair_loss(torch.tensor(0.0), logits=torch.zeros(2), target=torch.zeros(2))

    class NoGroups(FairnessMixin, L.LightningModule):
        pass

    with pytest.raises(ArgumentError, match="groups"):
        NoGroups()

    class NoWidth(AdversarialMixin, L.LightningModule):
        def __init__(self):
            super().__init__(groups=GROUPS)

    with pytest.raises(ArgumentError, match="in_features"):
        NoWidth()
    with pytest.raises(ArgumentError, match="weight"):
        Both(parity=dict(weight=-1))
    with pytest.raises(ArgumentError, match="did you mean 'max'"):
        Both(parity=dict(gap="maxx"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(sensitive=None), "sensitive"),
        (dict(representation=None), "representation"),
        (dict(logits=torch.zeros(64, 2)), r"logits\[:, 1\]"),
        (dict(target=torch.full((64,), 2)), "0 or 1 in every row"),
        (dict(target=torch.zeros(63)), "target"),
        (dict(sensitive=torch.full((64, 2), 5)), "codes from 5"),
    ],
)
def test_bad_batches_have_named_errors(module, fields, words):
    batch = make_batch()
    logits, h = module.net(batch.inputs)
    given = dict(logits=logits, target=batch.target, sensitive=batch.sensitive, representation=h)
    with pytest.raises(ArgumentError, match=words):
        module.fair_loss(torch.tensor(0.0), **(given | fields))


def test_works_with_pytorch_lightning_too():
    pl = pytest.importorskip("pytorch_lightning")

    class Model(ParityMixin, pl.LightningModule):
        def __init__(self):
            super().__init__(groups={"sex": ["F", "M"]})

    logits, target, sex = torch.zeros(4), torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
    loss = Model().fair_loss(torch.tensor(0.3), logits=logits, target=target, sensitive=sex)
    assert loss.item() == pytest.approx(0.3)


def test_prediction_needs_no_sensitive_columns_and_export_no_adversary():
    model = FairModule(Net(), GROUPS, objectives={"adversarial": make_adversary()})
    batch = make_batch()._replace(sensitive=None, target=None)
    assert model.predict_step(batch, 0).shape == (64,)
    assert not [name for name in model.network.state_dict() if "adversar" in name]


def test_rows_are_checked_in_every_step_unless_they_were_before():
    model = FairModule(Net(), GROUPS, objectives={"parity": ParityPenalty(GroupSpec(GROUPS))})
    wrong = make_batch()._replace(target=torch.full((64,), 2))
    with pytest.raises(ArgumentError, match="0 or 1 in every row"):
        model.training_step(wrong, 0)
    right = make_batch()
    checked = model.training_step(right._replace(checked=True), 0)
    assert torch.equal(checked, model.training_step(right, 0))
    model.training_step(wrong._replace(checked=True), 0)


def test_strength_may_change_between_steps_and_is_checked():
    model = FairModule(Net(), GROUPS, objectives={"parity": ParityPenalty(GroupSpec(GROUPS))})
    model.fairness.strength = 3.0
    assert model.fairness.set_factor("parity", 0.5) == (1.5,)
    assert model.fairness.objectives["parity"].weight == 1.5
    for wrong in (-1.0, [1.0, 2.0]):
        with pytest.raises(ArgumentError, match="strength"):
            model.fairness.strength = wrong
    assert model.fairness.strength == 3.0
    model.fairness.strength = 4.0
    assert model.fairness.objectives["parity"].weight == model.fairness.weights("parity")[0] == 2.0


@pytest.mark.parametrize("strength", [3.0, [3.0, 5.0]])
def test_a_checkpoint_brings_the_factor_and_the_module_its_strength(strength):
    saved = Fairness(GROUPS, strength=strength)
    saved.add("parity", ParityPenalty(GroupSpec(GROUPS), weight=2.0))
    saved.set_factor("parity", 0.25)
    for other, weight in ((strength, saved.weights("parity")), (7.0, (3.5,))):
        loaded = Fairness(GROUPS, strength=other)
        loaded.add("parity", ParityPenalty(GroupSpec(GROUPS), weight=2.0))
        loaded.load_state_dict(saved.state_dict())
        assert loaded.weights("parity") == weight
        assert loaded.objectives["parity"].weight.flatten().tolist() == list(weight)
        copied = deepcopy(loaded)  # keeps the hook, on the copy
        copied.load_state_dict(loaded.state_dict() | {"objectives.parity.factor": torch.ones(())})
        assert copied.weights("parity") != weight == loaded.weights("parity")


def test_strengths_of_models_trained_together_keep_the_factor():
    fairness = Fairness(GROUPS, strength=[1.0, 2.0])
    fairness.add("parity", ParityPenalty(GroupSpec(GROUPS), weight=2.0))
    fairness.set_factor("parity", 0.5)
    fairness.strength = [4.0, 6.0]
    assert fairness.objectives["parity"].weight.tolist() == [4.0, 6.0]


def test_attributes_are_registered_as_ever_and_lightnings_note_is_kept():
    model = FairModule(Net(), GROUPS)
    model._current_fx_name = "training_step"
    assert model._current_fx_name == "training_step"
    model.scale = nn.Parameter(torch.ones(1))
    model.extra = nn.Linear(2, 1)
    assert "scale" in dict(model.named_parameters())
    assert "extra" in dict(model.named_children())
    with pytest.raises(TypeError, match="cannot assign"):
        model.extra = 3


@pytest.mark.parametrize("fused", [False, True])
def test_scaled_gradients_are_not_clipped(fused, tmp_path):
    def optimizer(groups):
        return torch.optim.AdamW(groups, fused=fused)

    # The group of the adversary is fused either way, which does not make the optimizer so.
    model = FairModule(
        Net(), GROUPS, objectives={"adversarial": make_adversary()}, optimizer=optimizer
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    norms = []

    class Watch(L.Callback):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            for group in optimizer.param_groups:
                grads = [p.grad for p in group["params"] if p.grad is not None]
                if grads:
                    norms.append(torch.stack([g.norm() for g in grads]).norm().item())

    trainer = quiet_trainer(
        tmp_path,
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
        gradient_clip_val=1e-3,
        max_steps=3,
        callbacks=[Watch()],
    )
    if fused:
        with pytest.raises(SetupError, match="fused AdamW in float16"):
            trainer.fit(model, loaders()[0])
    else:
        trainer.fit(model, loaders()[0])
        assert norms
        assert max(norms) <= 1e-3 * (1 + 1e-4)
