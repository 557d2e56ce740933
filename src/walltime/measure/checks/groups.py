"""Which kind of parallelism a collective serves, by the names of its ranks and by its own kind."""

import re
from collections.abc import Iterable, Mapping

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


_MADE_BY = {"send_recv": ("pp", "cp", "ep"), "all_to_all": ("ep", "cp")}
"""Kinds of communication that only some kinds of parallelism make; NCCL's all-to-all is of sends and receives."""
_NEEDED = ((("pp",), ("send_recv",)), (("tp", "dp"), ("all_reduce", "all_gather", "reduce_scatter")))
"""Kinds of parallelism, and the communication of which each of their ranks has some."""


def signs_of_another_plan(parts: StepParts, plan: Plan) -> list[str]:
    """Return what a plan cannot have made of what a trace shows, and what it must have made and is not there.

    Nothing is missed where the trace does not tell the kind of some communication.
    """
    seen = [kind for kind, time_s in parts.communication_by_kind_s.items() if time_s]
    used = [kind for kind in ("tp", "cp", "ep", "pp", "dp") if getattr(plan, kind) > 1]
    makers = {kind: _MADE_BY.get(kind, _ANY) for kind in seen}
    odd = [kind for kind, by in makers.items() if not set(by) & set(used)]
    said = [f"the traces show {_shown(kind)}, and the plan has no {_or(makers[kind])}" for kind in odd]
    if "other" not in seen:
        for by, kinds in _NEEDED:
            if (split := [kind for kind in by if kind in used]) and not set(kinds) & set(seen):
                missing = _or(_shown(kind) for kind in kinds)
                said.append(f"the traces show no {missing}, and the plan has {split[0]} > 1")
    return [f"{each}: is it the same run?" for each in said]


_ANY = ("tp", "cp", "ep", "pp", "dp")


def _shown(kind: str) -> str:
    return kind.replace("_", "-")


def _or(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


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
