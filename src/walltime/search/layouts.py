"""Layouts: every way to share out accelerators over the kinds of parallelism, and the rules that exclude some."""

import itertools
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from walltime.arrays import Floats, Indices, Mask
from walltime.engines.capabilities import Capabilities
from walltime.plan import PlanBatch, divisors
from walltime.search.expand import expand
from walltime.workload import Training, Transformer

_ENDS = 2  # embedding and output layer may have a stage to themselves, as in `walltime.plan.check_plan`


@dataclass(frozen=True)
class Rows:
    """Layouts with a micro-batch: one chunk a stage, no recomputation, state shared over all data-parallel ranks.

    Attributes
    ----------
    plans : (rows,)
        Their degrees; the choices that a batch shares are not those of a row.
    layout : (rows,)
        Which layout a row is of: rows with the same degrees have the same.
    split_sequence : (rows,)
        Whether sequence parallelism divides its sequences.
    ring, exchange : (rows,)
        Whether context parallelism by either algorithm divides its sequences and heads.
    """

    plans: PlanBatch
    layout: Indices
    split_sequence: Mask
    ring: Mask
    exchange: Mask

    def __len__(self) -> int:
        return len(self.layout)

    def take(self, index: Indices | Mask) -> "Rows":
        """Return some of them."""
        return Rows(
            self.plans.take(index),
            self.layout[index],
            self.split_sequence[index],
            self.ring[index],
            self.exchange[index],
        )


def every_layout(model: Transformer, num_gpus: int, runs: Capabilities) -> PlanBatch:
    """Return every (tp, cp, pp, dp) whose product is the cluster, with every expert parallelism.

    Experts are shared out over the divisors of their number; each is whole or split over ``tp`` ranks.
    """
    sizes = np.array(divisors(num_gpus), dtype=np.float64)
    tp, cp = (axis.ravel() for axis in np.meshgrid(sizes, sizes, indexing="ij"))
    whole = num_gpus % (tp * cp) == 0
    pp = np.tile(sizes, np.count_nonzero(whole))
    tp, cp = np.repeat(tp[whole], len(sizes)), np.repeat(cp[whole], len(sizes))
    whole = num_gpus % (tp * cp * pp) == 0
    tp, cp, pp = tp[whole], cp[whole], pp[whole]
    dp = num_gpus / (tp * cp * pp)
    experts = [(1.0, 0.0)]
    if model.is_moe and "ep" in runs.kinds:
        kinds = [float(kind == "tp") for kind in runs.etp or ("1",)]
        experts = list(itertools.product(map(float, divisors(model.num_experts)), kinds))
    index, (ep, is_split) = expand([np.array(experts)], np.zeros(len(tp), dtype=np.intp))
    etp = np.where(is_split > 0, tp[index], 1)
    twice = (is_split > 0) & (tp[index] == 1) & ("1" in runs.etp)
    index, ep, etp = index[~twice], ep[~twice], etp[~twice]
    one = np.ones(len(index))
    return PlanBatch(
        tp=tp[index],
        cp=cp[index],
        dp=dp[index],
        pp=pp[index],
        ep=ep,
        etp=etp,
        shard=dp[index],
        micro_batch=one,
        vpp=one,
        recompute_layers=one * 0,
        recompute="full",
    )


def layout_rules(plans: PlanBatch, training: Training, runs: Capabilities) -> dict[str, Mask]:
    """Return by name what must hold of a layout; the rules of `walltime.plan.check_plan`, as arrays (layouts,)."""
    m, tp = training.model, plans.tp
    kv = m.num_kv_heads
    heads = (kv % tp == 0) | (tp % kv == 0) if not m.is_latent else np.ones(len(plans), dtype=bool)
    width = (m.num_moe_layers == m.num_layers) | (m.d_ff % tp == 0)
    width &= (not m.d_ff_shared) | (m.d_ff_shared % tp == 0)
    ranks = plans.tp * plans.cp * plans.dp
    experts = ranks % (plans.ep * plans.etp) == 0
    experts &= (not m.is_moe) | (m.d_ff_expert % plans.etp == 0)
    kinds = [getattr(plans, kind) == 1 for kind in ("tp", "cp", "ep", "pp") if kind not in runs.kinds]
    ring, exchange = context_divides(plans, training)
    context = np.zeros(len(plans), dtype=bool)
    for algorithm, divides in (("ring", ring), ("all-to-all", exchange)):
        context |= divides & (algorithm in runs.cp_algorithms)
    stages = m.num_layers + m.num_mtp_layers
    return {
        "num_heads": m.num_heads % tp == 0,
        "num_kv_heads": heads,
        "d_ff": width,
        "num_layers": (plans.pp <= stages + _ENDS) & (runs.uneven_stages | (stages % plans.pp == 0)),
        "num_experts": experts,
        "seq_len": context | (plans.cp == 1),
        "batch": training.batch_seqs % plans.dp == 0,
        "stack": np.logical_and.reduce([np.ones(len(plans), dtype=bool), *kinds]),
    }


def context_divides(plans: PlanBatch, training: Training) -> tuple[Mask, Mask]:
    """Whether context parallelism divides sequences, as a ring in two pieces a rank, and heads, by exchanging them."""
    seq_len, heads = training.seq_len, training.model.num_heads
    single = plans.cp == 1
    ring = seq_len % (2 * plans.cp) == 0
    exchange = (seq_len % plans.cp == 0) & (np.floor(heads / plans.tp) % plans.cp == 0)
    return single | ring, ~single & exchange


def allowed_layouts(training: Training, num_gpus: int, runs: Capabilities, rejected: Counter[str]) -> PlanBatch:
    """Return the layouts that divide model, batch and cluster; count the others by the first rule that they break."""
    plans = every_layout(training.model, num_gpus, runs)
    left = np.ones(len(plans), dtype=bool)
    weight = _num_choices(plans, runs)
    for name, holds in layout_rules(plans, training, runs).items():
        if excluded := int(weight[left & ~holds].sum()):
            rejected[name] += excluded
        left &= holds
    return plans.take(left)


def with_micro_batches(plans: PlanBatch, training: Training) -> Rows:
    """Return every layout with every micro-batch that divides the sequences of a pipeline."""
    local, which = np.unique(training.batch_seqs / plans.dp, return_inverse=True)
    options = [np.array(divisors(int(sequences)), dtype=np.float64)[:, None] for sequences in local]
    if not options:
        options, which = [np.ones((1, 1))], np.zeros(0, dtype=np.intp)
    index, (micro_batch,) = expand(options, which)
    rows = replace(plans.take(index), micro_batch=micro_batch)
    ring, exchange = context_divides(rows, training)
    split = np.floor(training.seq_len / rows.cp) % rows.tp == 0
    return Rows(rows, index, split, ring, exchange)


def _num_choices(plans: PlanBatch, runs: Capabilities) -> Floats:
    """Return what a layout that a rule excludes counts as, (layouts,): its combinations of choices.

    It has no micro-batches, chunks or shard groups to count.
    """

    def some(choices: tuple[object, ...]) -> int:
        return max(len(choices), 1)

    staged = plans.pp > 1
    count = np.where(staged, some(runs.schedules) * some(runs.pipeline_sharding), some(runs.shardings))
    count = count * np.where(plans.tp > 1, some(runs.sequence_parallel), 1)
    count = count * np.where(plans.cp > 1, some(runs.cp_algorithms), 1)
    return np.asarray(count * some(runs.precisions) * some(runs.recomputes), dtype=np.float64)
