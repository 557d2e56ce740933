"""Records the traces in tests/data/traces: two gloo processes, two steps of two small blocks, one way to split them.

OMP_NUM_THREADS=1 python -m torch.distributed.run --standalone --nproc-per-node=2 record.py ddp|fsdp|tp|pp FOLDER
"""

import gzip
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.profiler import ProfilerActivity, profile, schedule

WIDTH, BATCH, STEPS = 256, 128, 2


class Block(nn.Module):
    """Two matmuls and a residual."""

    def __init__(self):
        super().__init__()
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


def loss_of(y, target):
    return (y - target).pow(2).mean()


def training(how, rank, num_ranks):
    """One step of training, as a function."""
    torch.manual_seed(0)
    model = nn.Sequential(Block(), Block())
    x, target = torch.randn(BATCH, WIDTH), torch.randn(BATCH, WIDTH)
    mesh = init_device_mesh("cpu", (num_ranks,))
    if how == "ddp":
        model = nn.parallel.DistributedDataParallel(model, bucket_cap_mb=1)
    elif how == "fsdp":
        for block in model:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    elif how == "tp":
        for block in model:
            parallelize_module(block, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
    else:
        return pipeline(model[rank], x, target, rank, num_ranks)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step():
        optimizer.zero_grad()
        loss_of(model(x), target).backward()
        optimizer.step()

    return step


def pipeline(block, x, target, rank, num_ranks):
    stage = PipelineStage(block, rank, num_ranks, torch.device("cpu"))
    rounds = Schedule1F1B(stage, 4, loss_fn=loss_of)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.01)

    def step():
        optimizer.zero_grad()
        rounds.step(x) if rank == 0 else rounds.step(target=target, losses=[])
        optimizer.step()

    return step


def main(how, folder):
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    step = training(how, rank, dist.get_world_size())
    path = Path(folder) / f"{how}-rank{rank}.json"
    for _ in range(3):
        step()
    with profile(
        activities=[ProfilerActivity.CPU],
        schedule=schedule(wait=0, warmup=1, active=STEPS, repeat=1),
        on_trace_ready=lambda watched: watched.export_chrome_trace(str(path)),
    ) as watched:
        for _ in range(STEPS + 1):
            step()
            watched.step()
    content = json.loads(path.read_bytes())
    for private in ("host_name", "trace_id"):
        content.pop(private, None)
    content["traceName"] = path.name
    path.with_suffix(".json.gz").write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))
    path.unlink()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
