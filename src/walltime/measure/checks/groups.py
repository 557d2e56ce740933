"""Which kind of parallelism a collective serves, by the names of its ranks and by its own kind."""

import re
from collections.abc import Mapping

from walltime.measure.records import StepParts
from walltime.plan import Plan

_NAMES = (
    ("dp", r"expert_data|expt_dp"),
    ("ep", r"expert|(?:^|_)ep(?:_|$)|expt"),
    ("tp", r"tensor|(?:^|_)tp(?:_|$)"),
    ("pp", r"pipeline|(?:^|_)pp(?:_|$)"),
    ("dp", r"data|fsdp|(?:^|_)dp(?:_|$)"),
    ("cp", r"context|(?:^|_)cp(?:_|$)"),
)
"""In this order: PyTorch's meshes (``mesh_dp_shard_cp``) and Megatron's groups (``DATA_PARALLEL_GROUP_WITH_CP``)."""


def parallelism_of(group: str) -> str | None:
    """Return the kind of parallelism that ranks are called for: tp, cp, ep, pp, dp, or None."""
    name = group.lower().removeprefix("mesh_")
    return next((kind for kind, pattern in _NAMES if re.search(pattern, name)), None)


def exposed_by_parallelism_s(parts: StepParts, plan: Plan) -> Mapping[str, float]:
    """Return exposed communication by kind of parallelism, as far as a trace tells them apart. [s]

    Where only one kind is split over, all serves it. Else the names of groups of ranks say it, if all are known. Else
    sends and receives are a pipeline's, unless context parallelism sends in a ring; what is left stays untold.
    """
    used = [kind for kind in ("tp", "cp", "ep", "pp", "dp") if getattr(plan, kind) > 1]
    if len(used) == 1:
        return {used[0]: parts.exposed_communication_s}
    named = {group: parallelism_of(group) for group, time_s in parts.exposed_by_group_s.items() if time_s}
    if named and all(kind in used for kind in named.values()):
        found: dict[str, float] = {}
        for group, kind in named.items():
            found[str(kind)] = found.get(str(kind), 0.0) + parts.exposed_by_group_s[group]
        return found
    sends = parts.exposed_by_kind_s.get("send_recv")
    if sends is not None and "pp" in used and ("cp" not in used or plan.cp_algorithm != "ring"):
        return {"pp": sends}
    return {}
