"""Every plan of a space, one by one, in plain Python: what the search must agree with."""

import functools
import math
from dataclasses import dataclass

import numpy as np

from walltime.engines import StepTerms, matmul_device, step_terms
from walltime.plan import DEGREES, MlpPlanBatch


@dataclass(frozen=True)
class Evaluated:
    """All plans of one schedule with their terms and times."""

    plans: MlpPlanBatch
    terms: StepTerms
    time_s: np.ndarray

    @property
    def communication_s(self):
        return self.terms.tp_s + self.terms.dp_s + self.terms.pp_s


def levels_of(num_gpus, sizes):
    """How many groups each level joins: all that fit, or the most that divide the rest of the cluster."""
    joined = []
    for size in sizes:
        joined.append(max(d for d in range(1, num_gpus + 1) if num_gpus % d == 0 and d <= size))
        num_gpus //= joined[-1]
    return (*joined, num_gpus)


def degrees_of(space, model, num_gpus):
    """(dp, tp_model, tp_ff, pp, ep) of every plan."""
    for ep in space.expert_degrees(model, num_gpus):
        ranks = num_gpus // ep
        for dp in space.data_degrees(model, ranks):
            for pp in range(1, ranks // dp + 1):
                if (ranks // dp) % pp or model.num_layers % pp:
                    continue
                for tp_model, tp_ff in space.splits(model, ranks // dp // pp):
                    yield dp, tp_model, tp_ff, pp, ep


@functools.lru_cache(maxsize=4096)
def placed(degrees, sizes):
    """Every way to spread degrees over levels so that each level is filled; (levels, degrees) each."""
    if len(sizes) == 1:
        return ((degrees,),) if math.prod(degrees) == sizes[0] else ()
    ways = []
    for first in _shares(degrees, sizes[0]):
        left = tuple(degree // share for degree, share in zip(degrees, first, strict=True))
        ways += [(first, *rest) for rest in placed(left, sizes[1:])]
    return tuple(ways)


def _shares(degrees, size):
    if not degrees:
        return [()] if size == 1 else []
    divisors = [d for d in range(1, min(degrees[0], size) + 1) if degrees[0] % d == 0 and size % d == 0]
    return [(d, *rest) for d in divisors for rest in _shares(degrees[1:], size // d)]


def fits(model, cluster, num_gpus, dp):
    """Weights once a data-parallel rank and four words a parameter, in the memory of the whole cluster (2.5)."""
    word_bytes = cluster.accelerator.word_bytes
    needed = model.num_parameters * word_bytes * dp + 4 * model.num_parameters * word_bytes
    return needed <= num_gpus * cluster.accelerator.hbm_bytes


def every_plan(space, model, cluster, num_gpus, assumptions):
    """Return each schedule's plans that fit, evaluated; None where there is none."""
    sizes = levels_of(num_gpus, cluster.network.level_sizes)
    found = {}
    for schedule in ("1f1b", "zero-bubble"):
        rows = []
        for degrees in degrees_of(space, model, num_gpus):
            dp, pp = degrees[0], degrees[3]
            if not fits(model, cluster, num_gpus, dp):
                continue
            choices = [
                (microbatches, interleave)
                for microbatches in space.microbatch_counts(model, dp, pp, schedule)
                for interleave in space.interleavings(model, pp, schedule)
            ]
            rows += [(way, *choice) for way in placed(degrees, sizes) for choice in choices]
        found[schedule] = _evaluate(rows, schedule, model, cluster, assumptions) if rows else None
    return found


def _evaluate(rows, schedule, model, cluster, assumptions):
    by_level = np.array([way for way, _, _ in rows], dtype=float)
    plans = MlpPlanBatch(
        **{name: by_level[:, :, i] for i, name in enumerate(DEGREES)},
        num_microbatches=np.array([microbatches for _, microbatches, _ in rows], dtype=float),
        interleave=np.array([interleave for _, _, interleave in rows], dtype=float),
        schedule=schedule,
    )
    terms = step_terms(model, matmul_device(cluster.accelerator, assumptions), cluster.network, plans)
    return Evaluated(plans, terms, terms.step_s(schedule, assumptions))
