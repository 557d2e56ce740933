"""Where the groups of a plan lie on the network: how many ranks of a group each level joins."""

from collections.abc import Sequence

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.plan.plan import PlanBatch

Span = tuple[Floats, ...]
"""Ranks of a group that each network level joins, innermost first, one array (plans,) a level; their product is the
size of the group."""


def spans(plans: PlanBatch, level_sizes: Sequence[int]) -> dict[str, Span]:
    """Return how each kind of group is spread over the network's levels.

    Degrees are laid out in the order of ``plans.order``, innermost first. Data-parallel groups are all ranks with the
    same weights, those of ``cp`` and of ``dp``, whatever lies between them. Expert groups are the innermost of these
    ranks, and with experts that are not split over ``tp`` of the tensor-parallel ones too.

    Parameters
    ----------
    plans
        Their degrees.
    level_sizes
        Groups of the level below that a level joins, for all levels but the open-ended last.

    Returns
    -------
    dict of str to tuple of (plans,)
        For ``tp``, ``cp``, ``dp``, ``pp``, ``ep``, ``data`` (``dp`` and ``cp`` together: ranks with the same weights),
        ``shard`` (those of them that share out state), ``replica`` (copies of a shard group), ``expert_data`` (ranks
        with the same experts), ``expert_shard`` and ``expert_replica`` (those that share out the experts' state, and
        their copies).

    Approximations
    --------------
    A group that does not divide a level fills as much of it as it can, and the rest is spread evenly.
    """
    found = _Laid(plans, level_sizes)
    experts = np.maximum(plans.cp * plans.dp * plans.tp / (plans.etp * plans.ep), 1)
    shards = np.clip(plans.shard * plans.cp * plans.tp / (plans.etp * plans.ep), 1, experts)
    wide = ("tp", "cp", "dp")
    spread = {name: found.of((name,), getattr(plans, name)) for name in ("tp", "cp", "dp", "pp")}
    data = {
        "data": found.of(("cp", "dp"), plans.cp * plans.dp),
        "shard": found.of(("cp", "dp"), plans.shard * plans.cp),
        "replica": found.of(("cp", "dp"), plans.dp / plans.shard, plans.shard * plans.cp),
    }
    inner = plans.etp  # ranks between neighbours of an expert group: those that an expert is split over
    expert = {
        "ep": found.of(wide, plans.ep, inner),
        "expert_data": found.of(wide, experts, inner * plans.ep),
        "expert_shard": found.of(wide, shards, inner * plans.ep),
        "expert_replica": found.of(wide, experts / shards, inner * plans.ep * shards),
    }
    return spread | data | expert


class _Laid:
    """The kinds of parallelism of a plan laid out side by side."""

    def __init__(self, plans: PlanBatch, level_sizes: Sequence[int]) -> None:
        self.order = [name for name in plans.order if name != "ep"]
        self.degrees: dict[str, Floats] = {name: getattr(plans, name) for name in self.order}
        self.level_sizes = level_sizes

    def of(self, kinds: Sequence[str], size: Floats, skipped: Numeric = 1) -> Span:
        """Return the span of a group of ``size`` among the ranks of some kinds, every ``skipped``-th of them.

        The ranks of these kinds that lie within a level are counted kind by kind, innermost first: one of a kind
        further out lies as far away as all that is inside it.
        """
        joined = []
        inside: Numeric = 1.0
        reach = 1
        for level_size in self.level_sizes:
            reach *= level_size
            here = np.clip(np.floor(self._within(kinds, reach) / skipped), 1, None)
            within = np.maximum(np.minimum(size, here), inside)
            joined.append(np.asarray(within / inside))
            inside = within
        return (*joined, np.asarray(size / inside))

    def _within(self, kinds: Sequence[str], reach: int) -> Floats:
        """Return how many ranks of these kinds lie within ``reach`` neighbouring accelerators."""
        count: Numeric = 1.0
        stride: Numeric = 1.0
        for name in self.order:
            degree = self.degrees[name]
            if name in kinds:
                count = count * np.clip(np.floor(reach / stride), 1, degree)
            stride = stride * degree
        return np.asarray(count)
