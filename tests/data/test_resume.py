"""A run that is resumed sees the batches that the whole run would have seen, and no others."""

from __future__ import annotations

import warnings
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

EPOCHS = 3


class AfterValidation(ModelCheckpoint):
    """Lightning wants a class of its own for each checkpoint callback with these settings."""


class AfterEpoch(ModelCheckpoint):
    """As above."""


def callbacks(folder, every):
    keep = {"dirpath": folder, "save_top_k": -1}
    return [
        ModelCheckpoint(filename="step-{step}", every_n_train_steps=every, **keep),
        AfterValidation(filename="val-{step}", save_on_train_epoch_end=False, **keep),
        AfterEpoch(filename="epoch-{step}", save_on_train_epoch_end=True, **keep),
    ]


def fit(model, data, *, ckpt_path=None, **options):
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return model.seen


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"limit_val_batches": 0},
        {"limit_train_batches": 4},
        {"limit_train_batches": 4, "limit_val_batches": 0},
        {"val_check_interval": 2},
        {"check_val_every_n_epoch": 2},
        {"accumulate_grad_batches": 4},
        {"reload_dataloaders_every_n_epochs": 1},
    ],
    ids=str,
)
def test_resume_from_every_checkpoint(module, recorder, tmp_path, options):
    data = module(batch_size=40, eval_batch_size=30)
    every = 1 if "accumulate_grad_batches" in options else 2
    whole = fit(recorder(2), data, callbacks=callbacks(tmp_path, every), **options)
    per_epoch = options.get("limit_train_batches", 6)
    assert len(whole) == EPOCHS * per_epoch
    checkpoints = sorted(Path(tmp_path).glob("*.ckpt"))
    assert len(checkpoints) >= 9
    middle = 0
    for path in checkpoints:
        loops = torch.load(path, weights_only=True)["loops"]["fit_loop"]
        done = loops["epoch_loop.batch_progress"]["total"]["processed"]
        middle += done % per_epoch > 0
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rest = fit(
                recorder(2),
                module(batch_size=40, eval_batch_size=30),
                ckpt_path=path,
                enable_checkpointing=False,
                **options,
            )
        assert rest == whole[done:], path.name
        assert not [w for w in caught if "not resumable" in str(w.message)]
    assert middle >= 3


def test_each_epoch_of_a_run_has_its_own_order(module, recorder):
    data = module(batch_size=40)
    seen = fit(recorder(2), data, reload_dataloaders_every_n_epochs=1, enable_checkpointing=False)
    epochs = [seen[start : start + 6] for start in range(0, 18, 6)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    again = fit(recorder(2), module(batch_size=40), enable_checkpointing=False)
    assert again == seen


def test_overfitting_repeats_the_same_batches(module, recorder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = fit(
            recorder(2), module(batch_size=40), overfit_batches=2, enable_checkpointing=False
        )
    assert seen[:2] == seen[2:4] == seen[4:6]


def test_validation_sees_every_row_once(module, recorder):
    model, data = recorder(2), module(eval_batch_size=30)
    fit(model, data, num_sanity_val_steps=0, enable_checkpointing=False)
    assert model.validated == data.batch("validation").index.tolist() * EPOCHS
