import torch

from fairlightning.groups import GroupSpec
from fairlightning.metrics import GroupCounts

GROUPS = GroupSpec({"sex": ["Female", "Male"], "race": ["a", "b", "c"]})
RACE = GroupSpec({"race": ["a", "b", "c"]})


def batch(rows=400, seed=0, groups=GROUPS, spread=2.0):
    rng = torch.Generator().manual_seed(seed)
    codes = [torch.randint(-1, size, (rows,), generator=rng) for size in groups.sizes]
    logits = spread * torch.randn(rows, 1, generator=rng)
    target = (torch.rand(rows, generator=rng) < torch.sigmoid(logits[:, 0])).long()
    return logits, target, torch.stack(codes, dim=1)


def counted(*batches, groups=GROUPS, **options):
    metric = GroupCounts(groups, **options)
    for rows in batches:
        metric.update(*rows)
    return metric
