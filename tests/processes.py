"""Run a function in two processes that share a process group."""

from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _run(rank, folder, work, arguments):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=30),
    )
    torch.save(work(rank, *arguments), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def two_processes(folder, work, *arguments):
    """What `work(rank, *arguments)` returns in each of the two."""
    folder.mkdir(exist_ok=True)
    mp.start_processes(_run, (str(folder), work, arguments), nprocs=2, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]
