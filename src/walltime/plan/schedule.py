"""Pipeline schedules: how many microbatches they need and how long a bubble they leave."""

from typing import Literal

import numpy as np

from walltime.arrays import Floats

Schedule = Literal["1f1b", "zero-bubble"]
SCHEDULES: tuple[Schedule, ...] = ("1f1b", "zero-bubble")
"""``1f1b`` includes its interleaved form (interleave > 1); ``zero-bubble`` is ZB-H2 (Qi et al. 2023)."""


def smallest_num_microbatches(schedule: Schedule, pp: int) -> int:
    """Microbatches that a pipeline of ``pp`` stages needs to stay full: ``pp``, or ``2 pp`` for zero-bubble."""
    return 2 * pp if schedule == "zero-bubble" else pp


def bubble_stretch(schedule: Schedule, pp: Floats, num_microbatches: Floats, interleave: Floats) -> Floats | float:
    r"""How many times longer a pipeline runs for its bubble, at least 1.

    .. math:: \frac{1}{1-\varphi} = \frac{z + p - 1 + v M}{v M}, \qquad z = (v-1)\,\max(0, p - M)

    with p stages, M microbatches and v-way interleaving; zero-bubble schedules have none.

    Parameters
    ----------
    pp, num_microbatches, interleave : (plans,)

    References
    ----------
    Narayanan et al. (2021), section 2.2; Qi et al. (2023) for zero-bubble; docs: Pipeline.
    """
    if schedule == "zero-bubble":
        return 1.0
    work = interleave * num_microbatches
    start_up = (interleave - 1) * np.maximum(0, pp - num_microbatches) + pp - 1
    return (start_up + work) / work
