"""The space of plans for a real model on a cluster: rows of degrees, and what is chosen inside each."""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from walltime.arrays import Floats, Indices, Mask
from walltime.engines.capabilities import Capabilities
from walltime.plan import GROUPS, ContextAlgorithm, Plan, PlanBatch, Precision, Recompute, Sharding, divisors
from walltime.plan.plan import PipelineSchedule
from walltime.search.constraints import UNCONSTRAINED, Constraints
from walltime.search.expand import expand
from walltime.search.layouts import Rows
from walltime.workload import Training

_ENDS = 2  # embedding and output layer may have a chunk to themselves, as in `walltime.plan.check_plan`
_PARTS_RECOMPUTED = 16  # full recomputation applies to sixteenths of a chunk's layers, rounded up to whole layers
_KINDS = ("tp", "cp", "dp", "pp")


@dataclass(frozen=True)
class Branch:
    """Choices that a batch of pipelines shares, without sharding.

    Recomputation ``full`` holds no recomputation too, which is that of no layer.
    """

    precision: Precision
    schedule: PipelineSchedule
    recompute: Recompute
    sequence_parallel: bool
    cp_algorithm: ContextAlgorithm
    order: tuple[str, ...]


@dataclass(frozen=True)
class Sharded:
    """How state is shared out over data-parallel ranks, except over how many."""

    sharding: Sharding
    reshard: bool


class Space:
    """What is tried inside the layouts of one training on one stack.

    Every pipeline schedule of the stack; interleavings that make no stage fuller (of 1F1B, as many microbatches as the
    stack takes); no, selective or full recomputation, the last of any number of a chunk's layers up to 16, else of
    sixteenths rounded up to whole layers; every sharding, over every divisor of ``dp`` where the stack has shard
    groups; sequence parallelism and algorithms of context parallelism; every order on the network that differs.

    Parameters
    ----------
    training, runs
        What is trained, and what its software stack can run.
    constraints
        What is asked of a plan.
    """

    def __init__(self, training: Training, runs: Capabilities, constraints: Constraints = UNCONSTRAINED) -> None:
        runs = runs.of_model(is_moe=training.model.is_moe)
        runs = replace(runs, reshard=runs.reshard or (True,))
        for name in constraints.values:
            runs = constraints.restricted(runs, name)
        self.training, self.runs, self.constraints = training, runs, constraints
        self._inner_options: dict[tuple[int, bool, str, str], Floats] = {}
        self._group_options: dict[tuple[float, Sharded], Floats] = {}
        self.num_layers = training.model.num_layers + training.model.num_mtp_layers
        self.offload = bool(constraints.values.get("offload_optimizer", (False,))[0])
        self.recomputes = tuple(kind for kind in ("full", "selective") if self._shares_of(kind))

    # Branches

    def branches(self) -> Iterator[Branch]:
        """Yield every combination of choices, the usual first."""
        runs = self.runs
        choices: Sequence[Iterable[Any]] = (
            runs.precisions,
            runs.schedules or ("1f1b",),
            self.recomputes,
            runs.sequence_parallel or (True,),
            runs.cp_algorithms or ("ring",),
            dict.fromkeys((*runs.orders, *runs.folded_orders)),
        )
        yield from (Branch(*chosen) for chosen in itertools.product(*choices))

    def belongs(self, rows: Rows, branch: Branch, *, any_order: bool = False) -> Mask:
        """Whether a branch goes with each row and is not another branch of it by another name, (rows,)."""
        return self._schedules(rows, branch.schedule) & self.shares_choices(rows, branch, any_order=any_order)

    def shares_choices(self, rows: Rows, branch: Branch, *, any_order: bool = False) -> Mask:
        """Whether a branch goes with each row, whatever its schedule, (rows,)."""
        plans, runs = rows.plans, self.runs
        found = np.ones(len(rows), dtype=bool)
        first_sequence = branch.sequence_parallel == (runs.sequence_parallel or (True,))[0]
        splits = rows.split_sequence if branch.sequence_parallel else np.ones(len(rows), dtype=bool)
        found &= np.where(plans.tp > 1, splits & bool(runs.sequence_parallel), first_sequence)
        first_algorithm = branch.cp_algorithm == (runs.cp_algorithms or ("ring",))[0]
        divides = rows.ring if branch.cp_algorithm == "ring" else rows.exchange
        found &= np.where(plans.cp > 1, divides & bool(runs.cp_algorithms), first_algorithm)
        return found & (any_order | self._lays_out(plans, branch.order))

    def _lays_out(self, plans: PlanBatch, order: tuple[str, ...]) -> Mask:
        """Whether the stack lays plans out in an order, and in none before it that is the same for them, (plans,)."""
        runs, pattern = self.runs, _pattern(plans)
        inside = plans.etp * plans.ep if self.training.model.is_moe else plans.tp
        folded = np.isin(pattern, _patterns_of(order, runs.folded_orders))
        return np.where(plans.tp * plans.cp == inside, np.isin(pattern, _patterns_of(order, runs.orders)), folded)

    def _schedules(self, rows: Rows, schedule: PipelineSchedule) -> Mask:
        """Whether a schedule goes with each row: any one without a pipeline, the first."""
        pp, runs = rows.plans.pp, self.runs
        first = schedule == (runs.schedules or ("1f1b",))[0]
        fits = np.full(len(rows), bool(runs.schedules))
        if schedule in ("zb-v", "dualpipe"):
            fits &= 2 * pp <= self.num_layers + _ENDS
        if schedule == "dualpipe":
            fits &= (pp % 2 == 0) & (self.num_microbatches(rows.plans) % 2 == 0)
        return np.where(pp > 1, fits, first)

    def num_microbatches(self, plans: PlanBatch) -> Floats:
        """Microbatches of a step, (plans,)."""
        return self.training.batch_seqs / (plans.dp * plans.micro_batch)

    # Pipelines: chunks a stage and recomputed layers

    def pipelines(self, rows: Rows, branch: Branch) -> tuple[Indices, PlanBatch]:
        """Return every pipeline of a branch: the place of its row, and a batch with full sharding, (pipelines,)."""
        keys, which = self._keys(rows)
        options = [self._inner(*key, branch.schedule, branch.recompute) for key in keys]
        if not options:
            return np.zeros(0, dtype=np.intp), self._batch(rows.plans, branch)
        index, (vpp, share) = expand(options, which)
        plans = rows.plans.take(index)
        return index, replace(self._batch(plans, branch), vpp=vpp, recompute_layers=share)

    def _batch(self, plans: PlanBatch, branch: Branch) -> PlanBatch:
        return replace(plans, **vars(branch), offload_optimizer=self.offload)

    def _keys(self, rows: Rows) -> tuple[list[tuple[int, bool]], Indices]:
        """Return what decides the choices inside rows, stages and whether microbatches go round; and whose is which."""
        pp = rows.plans.pp
        rounds = self.num_microbatches(rows.plans) % pp == 0
        keys, which = np.unique(2 * pp + rounds, return_inverse=True)
        return [(int(key) // 2, bool(int(key) % 2)) for key in keys], which

    def _inner(self, pp: int, rounds: bool, schedule: str, recompute: str) -> Floats:
        """Return every (chunks, share of layers recomputed) of a pipeline, (options, 2)."""
        key = (pp, rounds, schedule, recompute)
        if key not in self._inner_options:
            self._inner_options[key] = np.array(self._new_inner(*key)).reshape(-1, 2)
        return self._inner_options[key]

    def _new_inner(self, pp: int, rounds: bool, schedule: str, recompute: str) -> list[tuple[float, float]]:
        found = []
        for vpp in self._interleavings(pp, rounds) if schedule == "1f1b" else [1]:
            if not self._allows("vpp", vpp):
                continue
            in_chunk = math.ceil(self.num_layers / (pp * vpp))
            found += [(float(vpp), share) for share in self._shares(recompute, in_chunk)]
        return found

    def _interleavings(self, pp: int, rounds: bool) -> list[int]:
        """Return the chunks a stage that leave the fullest stage as full as it is, as the stack has them."""
        runs = self.runs
        if pp == 1 or runs.interleaving == "none" or (runs.interleaving == "rounds" and not rounds):
            return [1]
        fullest = math.ceil(self.num_layers / pp)
        most = min(fullest, (self.num_layers + _ENDS) // pp)
        chunks = [v for v in range(1, most + 1) if math.ceil(self.num_layers / (pp * v)) * v == fullest]
        if not runs.uneven_stages:
            chunks = [v for v in chunks if self.num_layers % (pp * v) == 0]
        return chunks

    def _shares(self, recompute: str, in_chunk: int) -> list[float]:
        """Return the shares of a chunk's layers that are recomputed."""
        shares = self._shares_of(recompute)
        if recompute == "full" and 1.0 in shares and self.runs.partial_recompute:
            layers = {math.ceil(in_chunk * part / _PARTS_RECOMPUTED) for part in range(1, _PARTS_RECOMPUTED)}
            shares += [count / in_chunk for count in sorted(layers) if count < in_chunk]
        return [share for share in shares if self._allows("recompute_layers", share)]

    def _shares_of(self, recompute: str) -> list[float]:
        """Return no layers and all layers, as the stack recomputes them."""
        kinds = self.runs.recomputes
        if recompute == "selective":
            return [1.0] if "selective" in kinds else []
        return [share for share, kind in ((0.0, "none"), (1.0, "full")) if kind in kinds]

    def _allows(self, name: str, value: float) -> bool:
        return bool(self.constraints.allows(name, np.array([value]))[0])

    # Sharding

    def shardings(self) -> list[Sharded]:
        """Return every kind of sharding, the usual first."""
        kinds: list[Sharded] = []
        for sharding in self.runs.shardings:
            reshards = self.runs.reshard if sharding == "zero3" else (True,)
            kinds += [Sharded(sharding, reshard) for reshard in reshards]
        return kinds

    def shards(self, plans: PlanBatch, kind: Sharded) -> tuple[Indices, PlanBatch]:
        """Return each plan with every size of shard group: the place of the plan, and a batch, (sharded plans,)."""
        keys, which = np.unique(self._shard_keys(plans), return_inverse=True)
        options = [self._groups(key, kind) for key in keys]
        if not options:
            return np.zeros(0, dtype=np.intp), plans
        index, (shard,) = expand(options, which)
        chosen: dict[str, Any] = {"sharding": kind.sharding, "reshard": kind.reshard, "shard": shard}
        return index, replace(plans.take(index), **chosen)

    def allows_sharding(self, plans: PlanBatch, kind: Sharded) -> Mask:
        """Whether a kind of sharding, over any ranks, goes with each plan, (plans,)."""
        keys, which = np.unique(self._shard_keys(plans), return_inverse=True)
        return np.array([len(self._groups(key, kind)) > 0 for key in keys] or [False])[which]

    @staticmethod
    def _shard_keys(plans: PlanBatch) -> Floats:
        """Return what decides over how many ranks state may be shared: dp, and whether there are stages, (plans,)."""
        return 2 * plans.dp + (plans.pp > 1)

    def _groups(self, key: float, kind: Sharded) -> Floats:
        """Return the sizes of shard groups that go with a kind of sharding, (options, 1)."""
        if (key, kind) not in self._group_options:
            self._group_options[key, kind] = np.array(self._new_groups(key, kind), dtype=np.float64)[:, None]
        return self._group_options[key, kind]

    def _new_groups(self, key: float, kind: Sharded) -> list[int]:
        dp, staged = int(key) // 2, bool(int(key) % 2)
        if kind.sharding not in self.runs.shardings or (staged and kind.sharding not in self.runs.pipeline_sharding):
            return []
        groups = [dp]
        if kind.sharding in self.runs.hybrid_shard and kind.sharding != "ddp":
            groups += [size for size in reversed(divisors(dp)) if 1 < size < dp]
        return [size for size in groups if self._allows("shard", size) or (size == dp and self._allows("shard", 0))]

    # Counts

    def count(self, rows: Rows) -> Floats:
        """Return how many plans there are in each row, (rows,)."""
        pipelines = np.zeros(len(rows))
        keys, which = self._keys(rows)
        for schedule, recompute in itertools.product(self.runs.schedules or ("1f1b",), self.recomputes):
            inner = np.array([len(self._inner(*key, schedule, recompute)) for key in keys], dtype=np.float64)
            if len(inner):
                pipelines += self._schedules(rows, schedule) * inner[which]
        return pipelines * self._shared_choices(rows) * self._num_sharded(rows.plans)

    def _shared_choices(self, rows: Rows) -> Floats:
        """Return the combinations of precision, sequence, context algorithm and order of each row."""
        plans, runs = rows.plans, self.runs
        sequence = sum(rows.split_sequence if on else np.ones(len(rows)) for on in runs.sequence_parallel)
        context = sum(rows.ring if name == "ring" else rows.exchange for name in runs.cp_algorithms)
        orders = sum(self._lays_out(plans, order) for order in dict.fromkeys((*runs.orders, *runs.folded_orders)))
        count = np.where(plans.tp > 1, sequence, 1.0) * np.where(plans.cp > 1, context, 1.0)
        return np.asarray(count * orders * len(runs.precisions))

    def _num_sharded(self, plans: PlanBatch) -> Floats:
        keys, which = np.unique(self._shard_keys(plans), return_inverse=True)
        counts = [sum(len(self._groups(key, kind)) for kind in self.shardings()) for key in keys]
        return np.array(counts, dtype=np.float64)[which] if counts else np.zeros(len(plans))


def single_plan(plans: PlanBatch, index: int) -> Plan:
    """Return one plan of a batch of the search as people write it: what changes nothing has its usual value."""
    plan = plans.plan(index)
    usual: dict[str, Any] = {}
    if plan.recompute == "full" and plan.recompute_layers == 0:
        usual |= {"recompute": "none", "recompute_layers": 1.0}
    if plan.shard == plan.dp:
        usual["shard"] = 0
    present = [kind for kind in plan.order if kind != "ep" and getattr(plan, kind) > 1]
    for unused, names in (
        (present == [kind for kind in GROUPS if kind in present], ("order",)),
        (plan.pp == 1, ("schedule",)),
        (plan.tp == 1, ("sequence_parallel",)),
        (plan.cp == 1, ("cp_algorithm",)),
        (plan.sharding != "zero3", ("reshard",)),
    ):
        usual |= {name: Plan.__dataclass_fields__[name].default for name in names if unused}
    return replace(plan, **usual)


def _pattern(plans: PlanBatch) -> Indices:
    """Return which kinds of parallelism have a degree above 1, as bits, (plans,)."""
    return np.asarray(sum((getattr(plans, kind) > 1) << bit for bit, kind in enumerate(_KINDS)), dtype=np.intp)


@functools.cache
def _patterns_of(order: tuple[str, ...], orders: tuple[tuple[str, ...], ...]) -> list[int]:
    """Return the patterns of kinds under which an order of these is not the same as one listed before it."""
    if order not in orders:
        return []
    before = orders[: orders.index(order)]
    return [
        pattern
        for pattern in range(2 ** len(_KINDS))
        if all(_present(pattern, other) != _present(pattern, order) for other in before)
    ]


def _present(pattern: int, order: tuple[str, ...]) -> list[str]:
    return [kind for kind in order if kind in _KINDS and pattern >> _KINDS.index(kind) & 1]
