"""Fernandez et al. (2024), Hardware scaling trends and diminishing returns in large-scale distributed training.

The study as a model: one function an experiment, with one set of numbers, that of ``walltime validate``. What the paper
says stands in ``data/published/fernandez2024``, each claim with a tag that says how surely it is known.
"""

import functools
from collections.abc import Callable

from walltime.studies.fernandez2024.claims import Claim, claims, counted
from walltime.studies.fernandez2024.collectives import collective_latency, collectives
from walltime.studies.fernandez2024.hardware import generations
from walltime.studies.fernandez2024.measured import torchtitan
from walltime.studies.fernandez2024.scaling import pretraining_scale, strong_scaling, weak_scaling
from walltime.studies.fernandez2024.sensitivity import hangs_on, variants
from walltime.studies.fernandez2024.sweep import SIZES, model_parallel_sweep
from walltime.studies.fernandez2024.workloads import context_lengths, model_sizes
from walltime.studies.figure import Figure

FIGURES: dict[str, Callable[[], Figure]] = {
    "collectives": collectives,
    "collective_latency": collective_latency,
    "weak_scaling": weak_scaling,
    "strong_scaling": strong_scaling,
    "pretraining_scale": pretraining_scale,
    **{f"model_parallel_sweep_{size}": functools.partial(model_parallel_sweep, size) for size in SIZES},
    "generations": generations,
    "model_sizes": model_sizes,
    "context_lengths": context_lengths,
    "torchtitan": torchtitan,
}
"""Experiments by name."""

__all__ = ["FIGURES", "Claim", "claims", "counted", "hangs_on", "variants"]
