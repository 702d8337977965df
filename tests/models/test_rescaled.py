"""Networks in units of the target of a regression."""

import pytest
import torch
from helpers import GROUPS

from fairlightning.exceptions import ArgumentError
from fairlightning.models import MLP, Rescaled, TabM
from fairlightning.module import FairModule


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_ends_before_the_unit_of_the_target(dtype):
    network = Rescaled(MLP(3, []), center=2e5, scale=10.0).eval()
    inputs = torch.randn(50, 3), torch.zeros(50, 0).long()
    with torch.no_grad(), torch.autocast("cpu", dtype):
        predictions = network(inputs)[0]
    assert predictions.dtype == torch.float32
    torch.testing.assert_close(predictions, network(inputs)[0], atol=0.5, rtol=0)


def test_networks_for_other_targets_are_refused():
    ensemble = TabM(3, [], members=2, width=4)
    for build in (
        lambda: Rescaled(ensemble, 0.0, 1.0),
        lambda: FairModule(ensemble, GROUPS, task="regression"),
    ):
        with pytest.raises(ArgumentError, match="model: found TabM for task='regression'"):
            build()
