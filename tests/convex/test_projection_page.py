"""The code of docs/projection.md runs on Adult and does what the page says."""

import re
from pathlib import Path

import pytest
import torch
from helpers import quiet_trainer
from torch.utils.data import DataLoader, TensorDataset

from fairlightning.data import adult
from fairlightning.groups import GroupSpec
from fairlightning.objectives import ParityPenalty, Step

PAGE = Path(__file__).resolve().parents[2] / "docs" / "projection.md"
LAYER, LAST, PENALTY, OWN = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def rows():
    data = adult(seed=0)
    data.setup()
    batch = data.batch("train")
    sex = list(data.groups.names).index("sex")
    return TensorDataset(batch.inputs[0], batch.target, batch.sensitive[:, [sex]])


@pytest.fixture(scope="module")
def names(rows):
    """What the page defines, for the groups that it defines."""
    x, target, sex = rows[:1024]
    race = torch.randint(0, 3, (len(x), 1), generator=torch.Generator().manual_seed(0))
    found = dict(logits=x[:, 0] + sex[:, 0], sensitive=torch.cat([sex, race], 1), target=target)
    exec(LAYER, found)
    found["probabilities"] = found["fair"]
    for code in (LAST, PENALTY, OWN):
        exec(code, found)
    return found


def gap(p, sex):
    groups = GroupSpec({"sex": ["Female", "Male"]})
    return ParityPenalty(groups)(Step(p.double().logit()[:, None], sex[:, 0], sex)).value.item()


def trained(module, rows, tmp_path):
    """Train for two epochs; the losses of all steps."""
    losses, original = [], module.training_step

    def recording(batch, batch_idx):
        loss = original(batch, batch_idx)
        losses.append(loss.item())
        return loss

    module.training_step = recording
    torch.manual_seed(0)
    loader = DataLoader(rows, batch_size=512, shuffle=True, drop_last=True)
    quiet_trainer(tmp_path, max_epochs=2).fit(module, loader)
    return losses


def test_layer_and_constraints_of_the_page(names):
    assert names["fair"].shape == (1024,)
    assert names["layer"](
        names["probabilities"], names["sensitive"], parameters={"budget": torch.tensor(90.0)}
    ).sum() == pytest.approx(90, abs=1e-3)


def test_training_through_the_layer(names, rows, tmp_path):
    torch.manual_seed(0)
    module = names["Income"](5, GroupSpec({"sex": ["Female", "Male"]}))
    losses = trained(module, rows, tmp_path)
    x, y, sex = rows[-2048:]
    with torch.no_grad():
        fair, plain = module(x, sex), torch.sigmoid(module.network(x).squeeze(-1))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert gap(plain, sex) > 0.04
    assert gap(fair, sex) <= 0.02 + 1e-6
    base = y.float().mean()
    assert ((fair > 0.5) == y).float().mean() > max(base, 1 - base) + 0.01


def test_training_with_the_penalty(names, rows, tmp_path):
    gaps = {}
    for strength in (0.0, 50.0):
        torch.manual_seed(0)
        module = names["FairIncome"](5, GroupSpec({"sex": ["Female", "Male"]}))
        module.fairness.strength = strength
        module.fairness.set_factor("projection", 1.0)
        trained(module, rows, tmp_path)
        x, _, sex = rows[-2048:]
        with torch.no_grad():
            gaps[strength] = gap(torch.sigmoid(module.network(x).squeeze(-1)), sex)
    assert gaps[50.0] < 0.5 * gaps[0.0]
