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
    gradients; the bidirectional ``dualpipe`` fills from both ends.

    .. math:: (p-1)\frac{F + B}{v} \;\text{(1F1B)}, \quad (p-1)(F + B - 2W) \;\text{(ZB-H1)}, \quad
        (p-1)(F + B - 3W) \;\text{(ZB-H2, ZB-V)}, \quad (p/2-1)(F + 2B - 3W) \;\text{(DualPipe)}

    with B the whole backward pass, W the part of it that makes the gradients of the weights.

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
    (2024), DeepSeek-V3, table 2, whose overlapped forward and backward pass is taken to last as long as both.
    """
    work = others.forward + others.backward
    if schedule == "gpipe":
        return (pp - 1) * work
    if schedule == "1f1b":
        idle_chunks = (vpp - 1) * np.maximum(0, pp - num_microbatches)
        return (pp - 1 + idle_chunks) * work / vpp
    weight = others.weight_gradient
    if schedule == "dualpipe":
        return np.maximum(pp / 2 - 1, 0) * np.maximum(work + others.backward - 3 * weight, 0)
    saved = {"zb-h1": 2, "zb-h2": 3, "zb-v": 3}[schedule]
    return (pp - 1) * np.maximum(work - saved * weight, 0)


def send_waits(pp: Floats, vpp: Floats, num_microbatches: Floats, overlapped: Numeric) -> Floats:
    """How many sends between stages a step waits for, of which ``overlapped`` of the steady ones do not count.

    Every chunk of every microbatch is received once forward and once backward; filling and draining the pipeline
    waits for one send a stage and direction, which nothing hides.
    """
    steady = 2 * vpp * num_microbatches * (1 - overlapped)
    fill = 2 * (pp - 1)
    return np.where(pp > 1, steady + fill, 0)
