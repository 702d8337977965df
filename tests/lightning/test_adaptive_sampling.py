"""FairBatch during training: resumed and on several ranks it is the run that it was."""

import lightning as L
import pytest
import torch
from helpers import GROUPS, Both, Net, make_batch, quiet_trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from fairlightning.callbacks import AdaptiveSampling, FairnessMonitor, ResumeRNG
from fairlightning.data import BatchLoader, FairBatch
from fairlightning.exceptions import SetupError
from fairlightning.front import FrontModule
from fairlightning.groups import GroupSpec


def loader(batch_size=32):
    sampling = FairBatch(GroupSpec(GROUPS), ["sex"], "equal_opportunity", step=0.05)
    rows = make_batch(192)
    return BatchLoader(rows, batch_size, shuffle=True, drop_last=True, sampling=sampling)


def run(folder, ckpt_path=None, train=None):
    torch.manual_seed(3 if ckpt_path is None else 99)
    module, train = Both(dropout=0.2), train or loader()
    steps = ModelCheckpoint(folder, every_n_train_steps=3, save_top_k=-1, filename="{step}")
    ends = ModelCheckpoint(
        folder, filename="end-{epoch}", save_top_k=-1, save_on_train_epoch_end=True
    )
    callbacks = [FairnessMonitor(table=False), AdaptiveSampling(), ResumeRNG(), steps, ends]
    trainer = quiet_trainer(folder, max_epochs=3, callbacks=callbacks, enable_checkpointing=True)
    trainer.fit(module, train, ckpt_path=ckpt_path)
    return module.state_dict(), train.sampling.within_labels()


def test_same_weights_and_shares_from_within_and_between_epochs(tmp_path):
    weights, shares = run(tmp_path / "whole")
    batch, sampling = make_batch(192), loader().sampling
    start = sampling.table(sampling.cells(batch.target, batch.sensitive))[1, :2]
    assert not torch.allclose(shares[1], start / start.sum(), atol=0.01)
    for stop in ("step=6", "step=9", "end-epoch=1"):
        resumed, same = run(tmp_path / f"from {stop}", tmp_path / "whole" / f"{stop}.ckpt")
        assert torch.equal(shares, same)
        for name, value in weights.items():
            assert torch.equal(value, resumed[name]), name


def test_another_run_on_the_same_loader_begins_anew(tmp_path):
    train = loader()
    (_, first), (_, second) = (run(tmp_path / name, train=train) for name in "ab")
    assert torch.equal(first, second)


class Keep(L.Callback):
    def __init__(self, folder):
        self.folder = folder

    def on_fit_end(self, trainer, pl_module):
        shares = trainer.train_dataloader.sampling.within_labels()
        torch.save(shares, self.folder / f"{trainer.global_rank}.pt")


@pytest.mark.filterwarnings("ignore")
def test_two_ranks_have_the_shares_of_one(tmp_path):
    for devices, size in ((1, 32), (2, 16)):
        torch.manual_seed(3)
        folder = tmp_path / str(devices)
        folder.mkdir()
        trainer = quiet_trainer(
            folder,
            max_epochs=3,
            devices=devices,
            strategy="ddp_fork" if devices > 1 else "auto",
            callbacks=[AdaptiveSampling(), Keep(folder)],
        )
        trainer.fit(Both(), loader(size))
    alone, *both = (torch.load(tmp_path / name) for name in ("1/0.pt", "2/0.pt", "2/1.pt"))
    assert torch.equal(both[0], both[1])
    torch.testing.assert_close(both[0], alone)


def test_several_models_on_the_same_batches_are_refused(tmp_path):
    front = FrontModule(Net(), GROUPS, strength=[0.0, 1.0])
    trainer = quiet_trainer(tmp_path, callbacks=[AdaptiveSampling()])
    with pytest.raises(SetupError, match="sampling=balanced"):
        trainer.fit(front, loader())
