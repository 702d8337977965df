import hashlib
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import nn

from fairlightning.cli import main
from fairlightning.data import Batch, BatchLoader
from fairlightning.mixins import AdversarialMixin, ParityMixin

GROUPS = {"sex": ["F", "M"], "race": ["a", "b", "c"]}


def make_batch(rows=64, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 5, generator=random)
    sensitive = torch.stack(
        [
            torch.randint(0, 2, (rows,), generator=random),
            torch.randint(-1, 3, (rows,), generator=random),
        ],
        1,
    )
    target = (x[:, 0] + sensitive[:, 0] + torch.randn(rows, generator=random) > 0.5).long()
    empty = torch.zeros(rows, 0, dtype=torch.long)
    return Batch((x, empty), target, sensitive, None, torch.arange(rows))


class Net(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(dropout))
        self.head = nn.Linear(8, 1)
        self.sizes = {"logits": 1, "representation": 8}

    def forward(self, inputs):
        h = self.body(inputs[0])
        return self.head(h), h


class Both(AdversarialMixin, ParityMixin, L.LightningModule):
    """A user's module with two stacked mixins."""

    def __init__(self, dropout=0.0, **options):
        options.setdefault("adversarial", dict(in_features=8))
        super().__init__(groups=GROUPS, **options)
        self.net = Net(dropout)

    def training_step(self, batch, batch_idx):
        logits, h = self.net(batch.inputs)
        task = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], batch.target.float())
        return self.fair_loss(
            task, logits=logits, target=batch.target, sensitive=batch.sensitive, representation=h
        )

    validation_step = test_step = training_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameter_groups(1e-2))


class CrashInEpochTwo(L.Callback):
    """Ends the process's work in the middle of the third epoch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 2 and batch_idx == 1:
            raise RuntimeError("power cut")


def loaders(rows=256, batch_size=32):
    train = BatchLoader(make_batch(rows), batch_size, shuffle=True, drop_last=True, seed=1)
    return train, BatchLoader(make_batch(100, seed=9), 50)


def quiet_trainer(tmp_path, **options):
    defaults = dict(
        default_root_dir=tmp_path,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        max_epochs=2,
    )
    return L.Trainer(**(defaults | options))


def write_table(path):
    """Write a small CSV in which the label depends on a feature and on the group."""
    random = np.random.default_rng(0)
    rows = 600
    sex = random.choice(["f", "m"], rows)
    x = random.normal(size=rows)
    job = random.choice(["a", "b", "c"], rows)
    label = x + (sex == "m") + random.normal(size=rows) > 0.5
    frame = pd.DataFrame({"x": x, "job": job, "sex": sex, "label": np.where(label, "yes", "no")})
    frame.to_csv(path, index=False)
    return path


def small_table(path):
    """Overrides that name the columns of the table of `tests/cli`."""
    return [
        "dataset=table",
        f"dataset.source={path}",
        "dataset.target=label",
        "dataset.positive=yes",
        "dataset.sensitive=[sex]",
        "dataset.batch_size=64",
    ]


def process(*arguments, **options):
    """Run `fairlightning` as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fairlightning", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def command(*arguments, cwd):
    """What `process` returns, without the seconds that a new process takes to import."""
    out, err, before = StringIO(), StringIO(), Path.cwd()
    os.chdir(cwd)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main(list(map(str, arguments)))
    except SystemExit as end:
        code = end.code or 0
    finally:
        os.chdir(before)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def decision_entry(folder, front, point):
    """What the page of `front.json` saves where a model is chosen by hand."""
    return {
        "version": 1,
        "front": {"sha256": hashlib.sha256((folder / "front.json").read_bytes()).hexdigest()},
        "chosen": {"id": point.id},
        "how": "manual",
        "within_bounds": True,
        "dominated": False,
        "weights": [],
        "bounds": [],
        "values": {
            stage: [point.record(criterion, stage)._asdict() for criterion in front.criteria]
            for stage in ("val", "test")
        },
        "reason": "no gap at all",
        "by": "Ann",
        "time": "2026-01-31T12:00:00.000Z",
    }


def write_decision(folder, front, point):
    entry = decision_entry(folder, front, point)
    (folder / "decision.json").write_text(json.dumps(entry), encoding="utf-8")
