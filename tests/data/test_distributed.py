"""Two real processes share the rows."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import chain

import lightning
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lightning.pytorch.callbacks import ModelCheckpoint

from fairlightning.data import BatchLoader
from fairlightning.exceptions import DataError

WORLD = 2


def collect(rank, folder, build):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=20),
    )
    found = {}
    for name, (n, options) in CASES.items():
        loader = BatchLoader(build(n), **options)
        found[name] = [batch.index.tolist() for batch in loader]
        assert len(loader) == len(found[name])
    try:
        len(BatchLoader(build(1), 4))
    except DataError as error:
        found["error"] = str(error)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


CASES = {
    "train": (45, {"batch_size": 6, "shuffle": True, "drop_last": True, "seed": 3}),
    "one batch": (9, {"batch_size": 6, "shuffle": True, "drop_last": True}),
    "evaluate": (45, {"batch_size": 6}),
    "few": (3, {"batch_size": 1}),
}


def test_two_processes_share_the_rows(rows, tmp_path):
    mp.start_processes(collect, args=(tmp_path, rows), nprocs=WORLD, start_method="fork")
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(WORLD))

    n, options = CASES["train"]
    alone = BatchLoader(rows(n), **{**options, "batch_size": 12})
    together = [a + b for a, b in zip(first["train"], second["train"], strict=True)]
    assert together == [batch.index.tolist() for batch in alone]

    assert [len(batch) for batch in first["one batch"] + second["one batch"]] == [4, 4]

    batches = first["evaluate"] + second["evaluate"]
    assert len(first["evaluate"]) == len(second["evaluate"]) == 4
    assert {len(batch) for batch in batches} == {5, 6}
    assert sorted(chain(*batches)) == list(range(45))

    assert sorted(map(len, first["few"] + second["few"])) == [1, 2]
    assert "found 1 rows for 2 ranks, expected at least one row per rank" in first["error"]


def run(recorder, data, folder, tag, **options):
    class Saving(recorder):
        def on_fit_end(self):
            path = folder / f"{tag}-{self.global_rank}.json"
            path.write_text(json.dumps([self.seen, self.validated]))

    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=WORLD,
        strategy="ddp_fork",
        max_epochs=2,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            ModelCheckpoint(dirpath=folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
        ],
    )
    trainer.fit(Saving(2), data, **options)
    return [json.loads((folder / f"{tag}-{rank}.json").read_text()) for rank in range(WORLD)]


@pytest.mark.filterwarnings("ignore")
def test_trainer_on_two_processes_shares_and_resumes(module, recorder, tmp_path):
    data = module(batch_size=20, eval_batch_size=30)
    ranks = run(recorder, data, tmp_path, "whole")
    seen = [rank[0] for rank in ranks]
    assert [len(part) for part in seen] == [12, 12]
    data.setup()
    train = set(data.batch("train").index.tolist())
    for start in (0, 6):
        used = [row for part in seen for batch in part[start : start + 6] for row in batch]
        assert set(used) == train
        assert len(used) == 240
    validated = [row for rank in ranks for row in rank[1]]
    assert sorted(validated) == sorted(data.batch("validation").index.tolist() * 2)
    for step in (4, 6):
        resumed = run(recorder, data, tmp_path, step, ckpt_path=tmp_path / f"step={step}.ckpt")
        assert [rank[0] for rank in resumed] == [part[step:] for part in seen]
