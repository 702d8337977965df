"""One network on a line of weights gives the model of every λ."""

import pytest
import torch
from helpers import GROUPS, Net, loaders, make_batch, quiet_trainer

from fairlightning.callbacks import LambdaRamp
from fairlightning.exceptions import ArgumentError
from fairlightning.front import ConditionedModule, FrontMonitor
from fairlightning.groups import GroupSpec
from fairlightning.module import FairModule
from fairlightning.objectives import Adversary, ComplexityPenalty, ParityPenalty

SPEC = GroupSpec(GROUPS)


def module(**options):
    objectives = {
        "parity": ParityPenalty(SPEC),
        "adversary": Adversary(SPEC, in_features=8, weight=0.3),
        "complexity": ComplexityPenalty(SPEC),
    }
    defaults = dict(highest=3.0, grid=4, objectives=objectives)
    return ConditionedModule(Net(), SPEC, **(defaults | options))


def test_export_is_what_forward_gives():
    made = module().double()
    rows = make_batch()
    inputs = (rows.inputs[0].double(), rows.inputs[1])
    for _ in range(3):
        made.training_step(rows._replace(inputs=inputs), 0).backward()
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.sub_(0.1 * parameter.grad)
    made.eval()
    assert int(made.steps_drawn) == 3
    for k, strength in enumerate(made.fairness.strength):
        single = FairModule(Net(), SPEC).double().eval()
        single.network.load_state_dict(made.export_at(strength).state_dict())
        assert (single(inputs) - made(inputs)[k]).abs().max() < 1e-12
    assert (made(inputs)[0] - made(inputs)[-1]).abs().max() > 1e-4


def test_runs_with_ramp_and_monitor(tmp_path):
    made = module()
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[LambdaRamp(), FrontMonitor()])
    trainer.fit(made, *loaders())
    assert "val/accuracy/member=3" in trainer.callback_metrics
    assert made.fairness.members == 4


@pytest.mark.parametrize(
    ("options", "message"), [(dict(highest=0.0), "highest"), (dict(grid=1), "grid")]
)
def test_refusals(options, message):
    with pytest.raises(ArgumentError, match=message):
        module(**options)
    with pytest.raises(ArgumentError, match="strength: found 4"):
        module().predict(make_batch().inputs, 4.0)
