"""A resumed run must be the run that was never interrupted."""

import pytest
import torch
from helpers import Both, loaders, quiet_trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from fairlightning.callbacks import FairnessMonitor, LambdaRamp, ResumeRNG


def run(folder, ckpt_path=None):
    torch.manual_seed(3 if ckpt_path is None else 99)
    module = Both(dropout=0.3)
    saver = ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    trainer = quiet_trainer(
        folder,
        max_epochs=3,
        callbacks=[LambdaRamp(), FairnessMonitor(table=False), ResumeRNG(), saver],
        enable_checkpointing=True,
    )
    trainer.fit(module, *loaders(), ckpt_path=ckpt_path)
    return module.state_dict()


@pytest.mark.parametrize("stop", [1, 5, 8, 11, 16, 23])
def test_same_final_weights_from_any_step(tmp_path, stop):
    whole = run(tmp_path / "whole")
    resumed = run(tmp_path / "resumed", tmp_path / "whole" / f"step={stop}.ckpt")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
