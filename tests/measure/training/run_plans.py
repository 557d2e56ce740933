"""Run by torchrun: train the tiny model under every plan of as many ranks; write losses and sizes of gradients.

torchrun --nproc-per-node 2 run_plans.py OUT.json
"""

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed
from torch.profiler import profile

sys.path.insert(0, str(Path(__file__).parent))
import tiny

from walltime.measure.training.batches import batch_of
from walltime.measure.training.mesh import mesh_of
from walltime.measure.training.trainer import trainer


def losses_and_gradients(plan):
    """Losses of a few steps, and the norm of each parameter's gradient in the first, over the whole model."""
    grouped = distributed.is_initialized()
    request = tiny.request(plan)
    mesh = mesh_of(plan, "cpu", has_group=grouped)
    trained = trainer(request, mesh, torch.device("cpu"))
    each = request.training.batch_seqs // plan.dp
    share = range(mesh.rank("dp") * each, (mesh.rank("dp") + 1) * each)
    losses, norms = [], {}
    for step in range(tiny.NUM_STEPS):
        loss = trained.step(batch_of(request.training, step, request.seed, share, "cpu"))
        total = torch.tensor([float(loss) * trained.is_last_stage, float(trained.is_last_stage)])
        if grouped:
            distributed.all_reduce(total)
        losses.append((total[0] / total[1]).item())
        norms = norms or gradient_norms(trained)
    return {"losses": losses, "gradients": norms}


def gradient_norms(trained):
    own = {
        name: float((gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient).norm())
        for part in trained.parts
        for name, parameter in part.named_parameters()
        if (gradient := parameter.grad) is not None
    }
    if not distributed.is_initialized():
        return own
    everyone = [None] * distributed.get_world_size()
    distributed.all_gather_object(everyone, own)
    return {name: norm for rank in everyone for name, norm in rank.items()}


def collectives():
    """How often each collective of DTensor's is called in a step, by its name."""
    request = tiny.request(replace(tiny.PLANS[2]["tp"], micro_batch=8))
    trained = trainer(request, mesh_of(request.plan, "cpu", has_group=True), torch.device("cpu"))
    batch = batch_of(request.training, 0, 0, range(8), "cpu")
    with profile() as watched:
        trained.step(batch)
    prefix = "_c10d_functional::"
    counts = {event.key: event.count for event in watched.key_averages() if event.key.startswith(prefix)}
    return {name.removeprefix(prefix): count for name, count in counts.items()}


def main():
    """Run every plan, and write from the first rank."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    if "--collectives" in sys.argv:
        found = collectives()
    else:
        plans = tiny.PLANS[distributed.get_world_size()]
        found = {name: losses_and_gradients(plan) for name, plan in plans.items()}
    if distributed.get_rank() == 0:
        Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
