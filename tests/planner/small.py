"""Small questions for the planner, and every plan there is to them, without pruning."""

from dataclasses import dataclass, replace

import numpy as np

from walltime import hardware
from walltime.economics.account import reliability_of
from walltime.engines.known_cluster import known_cluster
from walltime.engines.stack import stack
from walltime.planner import Question
from walltime.planner.site import new_search
from walltime.search.constraints import Constraints
from walltime.search.space import single_plan
from walltime.workload import Training, Transformer

MODEL = Transformer(
    name="small",
    num_layers=4,
    d_model=2048,
    d_ff=8192,
    num_heads=16,
    num_kv_heads=4,
    head_dim=128,
    vocab_size=32000,
)
TRAINING = Training(MODEL, 2048, 16)


def cluster(num_gpus=4, *settings, name="h100-sxm"):
    """A cluster on which memory is short, so that not every plan fits."""
    made = hardware.override(hardware.cluster(name, num_gpus), list(settings or ("accelerator.memory=0.08x",)))
    return known_cluster(made)


def question(*clusters, software="megatron-core", fix=None, most=None, **changed):
    """A question about the small model, on four accelerators unless others are named."""
    asked = Question(
        training=TRAINING,
        clusters=clusters or (cluster(),),
        stack=stack(software),
        constraints=Constraints(fix or {}, most=most or {}),
    )
    return replace(asked, **changed)


@dataclass(frozen=True)
class Known:
    """A plan that fits: step [s], memory of the fullest accelerator [B], energy of one accelerator in a step [J]."""

    cluster: object
    plan: object
    time_s: float
    needed_bytes: float
    energy_j: float


class Everything:
    """Keeps every plan that fits: nothing is pruned."""

    def __init__(self):
        self.found = []

    def passes(self, bounds, layout):
        return np.ones(bounds.shape[1], dtype=bool)

    def offer(self, layout, plans, values, needed_bytes):
        self.found += [(single_plan(plans, at), *map(float, values[:, at])) for at in range(len(layout))]


def everything(asked):
    """Every plan to a question that fits, on every cluster."""
    found = []
    for one in asked.clusters:
        keeper = Everything()
        new_search(asked, one).search(keeper, ("time", "memory", "energy"))
        found += [Known(one, *values) for values in keeper.found]
    return found


def interrupted_s(one):
    """What a step takes with its share of interruptions [s], of an option or of a `Known` plan."""
    failing = reliability_of(TRAINING, one.cluster, stack("megatron-core"))
    return one.time_s / float(failing.effective_share(one.plan.num_gpus))
