"""Every combination trains Adult for an epoch under the Trainer."""

import lightning as L
import pytest
import torch
from helpers import GROUPS, Net, make_batch, quiet_trainer

from fairlightning.callbacks import FairnessMonitor, LambdaRamp
from fairlightning.data import BatchLoader, adult
from fairlightning.groups import GroupSpec
from fairlightning.models import MLP
from fairlightning.module import FairModule
from fairlightning.objectives import (
    AugmentedChebyshev,
    Chebyshev,
    ComplexityPenalty,
    EpsilonConstraint,
    GradientAggregation,
    ParityPenalty,
    SmoothChebyshev,
)

SCALARISATIONS = {
    "chebyshev": lambda: Chebyshev(reference={"task": 0.25}),
    "augmented": lambda: AugmentedChebyshev(reference={"task": 0.25}),
    "smooth": lambda: SmoothChebyshev(reference={"task": 0.25}),
    "exact": lambda: EpsilonConstraint({"parity": 0.05}),
    "quadratic": lambda: EpsilonConstraint({"parity": 0.05}, penalty="quadratic"),
    "bounded task": lambda: EpsilonConstraint({"task": 0.4}, minimise="parity", task=10.0),
}
OPTIONS = {
    "CAGrad": {"c": 0.5},
    "Constant": {"weights": [1.0, 1.0]},
    "FairGrad": {"alpha": 1.0},
    "Krum": {"n_byzantine": 0},
    "NashMTL": {"n_tasks": 2, "update_weights_every": 10},
}


def aggregators():
    try:
        from torchjd import aggregation
    except ImportError:
        return [pytest.param("UPGrad", marks=pytest.mark.skip("could not import torchjd"))]
    base = (aggregation.WeightedAggregator, aggregation.GramianWeightedAggregator)
    classes = {name: getattr(aggregation, name) for name in aggregation.__all__}
    return sorted(k for k, v in classes.items() if issubclass(v, base) and v not in base)


@pytest.fixture(scope="module")
def data():
    made = adult(seed=0, batch_size=1024)
    made.setup()
    return made


def module_for(data, combination, objectives=(), **options):
    torch.manual_seed(0)
    network = MLP(data.num_numeric, data.cardinalities, hidden=(16,))
    parity = ParityPenalty(data.groups, attributes=["sex"], weight=2.0)
    objectives = {"parity": parity, **dict(objectives)}
    return FairModule(
        network, data.groups, objectives=objectives, combination=combination, **options
    )


def trained(data, combination, tmp_path, objectives=()):
    module = module_for(data, combination, objectives, learning_rate=1e-2)
    monitor = FairnessMonitor()
    trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=[LambdaRamp(), monitor])
    trainer.fit(module, datamodule=data)
    assert trainer.global_step > 20
    assert module.fairness.objectives["parity"].weight == 2.0  # the ramp has ended
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("name", SCALARISATIONS)
def test_scalarisations_train_adult(data, tmp_path, name):
    found = trained(data, SCALARISATIONS[name](), tmp_path)
    assert found["val/loss/task"] < 0.55  # it starts at about 0.69


@pytest.mark.parametrize("name", aggregators())
def test_aggregators_train_adult(data, tmp_path, name):
    if name == "NashMTL":
        pytest.importorskip("ecos")
    # Krum picks one of at least three gradients.
    extra = {"simple": ComplexityPenalty(data.groups)} if name == "Krum" else {}
    combination = GradientAggregation(name, OPTIONS.get(name, {}))
    found = trained(data, combination, tmp_path, extra)
    assert found["val/loss/total"] == pytest.approx(
        found["val/loss/task"]
        + 2.0 * found["val/loss/parity"]
        + 1e-4 * found.get("val/loss/simple", 0.0),
        rel=1e-5,
    )
    # Krum follows one gradient of the three, which need not be the task's.
    assert found["val/loss/task"] < 0.6 or name == "Krum"


def test_aggregation_under_accumulation_clipping_and_bfloat16(data, tmp_path):
    pytest.importorskip("torchjd")
    module = module_for(data, GradientAggregation("MGDA"), learning_rate=1e-2)
    trainer = quiet_trainer(
        tmp_path,
        max_steps=20,
        max_epochs=-1,
        precision="bf16-mixed",
        accumulate_grad_batches=2,
        gradient_clip_val=0.1,
        callbacks=[LambdaRamp()],
    )
    before = [p.detach().clone() for p in module.network.parameters()]
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 20
    after = list(module.network.parameters())
    assert all(torch.isfinite(p).all() for p in after)
    assert any((p - q).abs().max() > 1e-3 for p, q in zip(before, after, strict=True))


class Recording(FairModule):
    """Saves the gradient that the optimizer would see."""

    def on_after_backward(self):
        if self.trainer.is_global_zero:
            grads = {name: p.grad.clone() for name, p in self.network.named_parameters()}
            torch.save(grads, f"{self.trainer.default_root_dir}/grads.pt")


@pytest.mark.parametrize("name", ["UPGrad", "MGDA", "PCGrad", "Random"])
def test_two_ranks_aggregate_the_gradients_of_the_joined_batch(tmp_path, name):
    pytest.importorskip("torchjd")
    grads = {}
    for devices in (1, 2):
        torch.manual_seed(0)
        groups = GroupSpec({name: list(values) for name, values in GROUPS.items()})
        objectives = {
            "parity": ParityPenalty(groups, attributes=["sex"], weight=3.0),
            "simple": ComplexityPenalty(groups, weight=0.1),
        }
        combination = GradientAggregation(name)
        module = Recording(Net(), groups, objectives=objectives, combination=combination).double()
        root = tmp_path / str(devices)
        root.mkdir()
        batch = make_batch(64, seed=4)
        batch = batch._replace(inputs=(batch.inputs[0].double(), batch.inputs[1]))
        trainer = quiet_trainer(
            root,
            max_steps=1,
            devices=devices,
            strategy="auto" if devices == 1 else "ddp_fork",
            callbacks=[SeedOfRank(differs=name == "Random" and devices == 2)],
        )
        trainer.fit(module, BatchLoader(batch, 64 // devices, shuffle=False))
        grads[devices] = torch.load(root / "grads.pt")
    for key, grad in grads[1].items():
        torch.testing.assert_close(grads[2][key], grad, rtol=1e-9, atol=1e-12)


class SeedOfRank(L.Callback):
    """Random numbers of rank 0 as in one process; those of other ranks may differ."""

    def __init__(self, differs):
        self.differs = differs

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        torch.manual_seed(trainer.global_rank if self.differs else 0)
