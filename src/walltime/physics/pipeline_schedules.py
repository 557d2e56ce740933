"""Pipeline schedules of real frameworks: bubble, microbatches in flight, sends that wait."""

from typing import NamedTuple

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.plan import PipelineSchedule


class StageTimes(NamedTuple):
    """Time of one microbatch on one stage, all its chunks together. [s]

    Attributes
    ----------
    forward, backward
        The two passes.
    weight_gradient
        The part of ``backward`` that may be put off: the gradient of the weights.
    """

    forward: Floats
    backward: Floats
    weight_gradient: Floats


def bubble_s(
    schedule: PipelineSchedule, pp: Floats, vpp: Floats, others: StageTimes, num_microbatches: Floats
) -> Floats:
    r"""Time that the busiest stage waits while the pipeline fills and drains [s].

    ``gpipe`` and ``1f1b`` wait for every other stage once, a v-th of it if interleaved; with fewer microbatches than
    stages an interleaved pipeline also waits between its chunks. Zero-bubble schedules fill the wait with weight
    gradients; the bidirectional ``dualpipe`` halves it.

    .. math:: (p-1)\frac{F + B}{v} \;\; \text{(1F1B)}, \quad (p-1)(F + B - 2W) \;\; \text{(ZB-H1: } F + B - W)

    Parameters
    ----------
    schedule, pp, vpp
        The schedule, its stages and chunks.
    others : StageTimes
        Of the mean stage other than the busiest.
    num_microbatches
        Microbatches that a pipeline works through.

    References
    ----------
    Narayanan et al. (2021), section 2.2; Qi et al. (2024), table 1, where B is the input gradient alone; Liu et al.
    (2024), DeepSeek-V3, table 2.
    """
    work = others.forward + others.backward
    if schedule == "gpipe":
        return (pp - 1) * work
    if schedule == "1f1b":
        idle_chunks = (vpp - 1) * np.maximum(0, pp - num_microbatches)
        return (pp - 1 + idle_chunks) * work / vpp
    input_gradient = others.backward - others.weight_gradient
    saved = {"zb-h1": 1, "zb-h2": 2, "zb-v": 2, "dualpipe": 2}[schedule]
    left = np.maximum(others.forward + input_gradient + others.weight_gradient - saved * others.weight_gradient, 0)
    if schedule == "dualpipe":
        return np.maximum(pp / 2 - 1, 0) * left
    return (pp - 1) * left


def send_waits(pp: Floats, vpp: Floats, num_microbatches: Floats, overlapped: Numeric) -> Floats:
    """How many sends between stages a step waits for, of which ``overlapped`` of the steady ones do not count.

    Every chunk of every microbatch is received once forward and once backward; filling and draining the pipeline
    waits for one send a stage and direction, which nothing hides.
    """
    steady = 2 * vpp * num_microbatches * (1 - overlapped)
    fill = 2 * (pp - 1)
    return np.where(pp > 1, steady + fill, 0)
