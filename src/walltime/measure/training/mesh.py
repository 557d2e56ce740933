"""The ranks of a plan on a device mesh: pipeline outermost, then replicas, shards, context, tensor innermost."""

from dataclasses import dataclass
from typing import Any

from torch.distributed.device_mesh import init_device_mesh

from walltime.plan import Plan

_NAMES = ("pp", "dp_replicate", "dp_shard", "cp", "tp")


@dataclass(frozen=True)
class Mesh:
    """A plan's ranks.

    Attributes
    ----------
    plan
        How the model is split.
    whole
        PyTorch's mesh of all ranks; None for a process without a process group.
    data
        The mesh over which parameters and gradients are shared out: replicas, if any, by shards.
    """

    plan: Plan
    whole: Any = None
    data: Any = None

    def rank(self, name: str) -> int:
        """Return this process's place along a dimension: ``pp``, ``dp``, ``cp`` or ``tp``."""
        if self.whole is None:
            return 0
        if name == "dp":
            return self.rank("dp_replicate") * num_shards(self.plan) + self.rank("dp_shard")
        return int(self.whole.get_local_rank(name))

    def along(self, name: str) -> Any:
        """Return the mesh along one dimension."""
        return self.whole[name]


def mesh_of(plan: Plan, device_kind: str, *, has_group: bool) -> Mesh:
    """Return the mesh of a plan, joined by the process group that stands, if one does."""
    if not has_group:
        return Mesh(plan)
    shards = num_shards(plan)
    sizes = (plan.pp, plan.dp // shards, shards, plan.cp, plan.tp)
    whole = init_device_mesh(device_kind, sizes, mesh_dim_names=_NAMES)
    sharing = "dp_shard"
    if plan.cp > 1:
        sharing = "dp_shard_cp"
        whole["dp_shard", "cp"]._flatten(sharing)
    return Mesh(plan, whole, whole["dp_replicate", sharing] if plan.dp > shards else whole[sharing])


def num_shards(plan: Plan) -> int:
    """Return over how many data-parallel ranks parameters are shared out."""
    return 1 if plan.sharding == "ddp" else plan.shard or plan.dp
