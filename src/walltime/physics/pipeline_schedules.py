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

    forward: Numeric
    backward: Numeric
    weight_gradient: Numeric

    @property
    def total(self) -> Numeric:
        """Both passes. [s]"""
        return self.forward + self.backward


class Stages(NamedTuple):
    """The stages of a pipeline: as full as the fullest from the first on, the last with what is left and the ends.

    Attributes
    ----------
    busiest, others
        The busiest stage, and the mean of the others.
    full
        A full stage.
    num_full
        How many are full.
    last
        The last stage, with the output layer.
    last_chunk
        Time of a microbatch on its last chunk, with the output layer. [s]
    """

    busiest: StageTimes
    others: StageTimes
    full: StageTimes
    num_full: Numeric
    last: StageTimes
    last_chunk: Numeric

    @classmethod
    def alike(cls, stage: StageTimes, pp: Numeric, vpp: Numeric = 1) -> "Stages":
        """Return the stages of a pipeline in which all take as long."""
        return cls(stage, stage, stage, pp, stage, stage.total / vpp)


def bubble_s(schedule: PipelineSchedule, pp: Floats, vpp: Floats, stages: Stages, num_microbatches: Floats) -> Floats:
    r"""Time that the busiest stage waits while the pipeline fills and drains [s].

    ``gpipe`` and ``1f1b`` wait for every other stage once, a v-th of it if interleaved; with fewer microbatches than
    stages an interleaved pipeline also waits between its chunks. Zero-bubble schedules fill the wait with weight
    gradients, as far as there are microbatches; the bidirectional ``dualpipe`` fills from both ends. With stages that
    are alike, F the forward pass, I the gradient of the input, W that of the weights (:math:`B = I + W`), and
    microbatches enough,

    .. math:: (p-1)\frac{F + B}{v} \;\text{(1F1B)}, \quad (p-1)(F + I - W) \;\text{(ZB-H1)}, \quad
        (p-1)(F + I - 2W) \;\text{(ZB-H2)}, \quad (p-1)(\max(F, I) - W) \;\text{(ZB-V)}, \quad
        (p/2-1)(F + 2I - W) \;\text{(DualPipe)}.

    Parameters
    ----------
    schedule, pp, vpp
        The schedule, its stages and chunks.
    stages
        How long they take.
    num_microbatches
        Microbatches that a pipeline works through.

    Approximations
    --------------
    Found and checked by simulation (`walltime.physics.pipeline_simulation`): exact for stages that are alike, and with
    any stages for ``gpipe`` and ``1f1b`` of one chunk; docs: Timeline says how far off it is elsewhere.

    References
    ----------
    Narayanan et al. (2021), section 2.2; Qi et al. (2024), table 1; Liu et al. (2024), DeepSeek-V3, table 2, whose
    overlapped forward and backward pass is taken to last as long as both.
    """
    count = num_microbatches
    if schedule == "gpipe":
        return (pp - 1) * stages.others.total + (count - 1) * _two_bottlenecks_s(stages)
    if schedule == "1f1b":
        return _one_and_one_s(pp, vpp, stages, count)
    if schedule in ("zb-h1", "zb-h2"):
        return _zero_bubble_s(pp, stages, count, deep=schedule == "zb-h2")
    return _v_shaped_s(pp, stages, count) if schedule == "zb-v" else _bidirectional_s(pp, stages, count)


def _two_bottlenecks_s(stages: Stages) -> Floats:
    """Wait of GPipe for each microbatch, where one stage is slowest forward and another backward."""
    forward = np.maximum(stages.full.forward, stages.last.forward)
    return np.maximum(forward + np.maximum(stages.full.backward, stages.last.backward) - stages.busiest.total, 0)


def _one_and_one_s(pp: Floats, vpp: Floats, stages: Stages, count: Floats) -> Floats:
    """Wait of 1F1B, which starts with a forward pass for each stage further on, two if it is interleaved.

    If the last stage is the busiest, it waits for all others. If the full stages are, the last of them waits for those
    before it, and for those after it but for what it does meanwhile. An interleaved pipeline works through one round of
    chunks after the other, each as slow as its slowest chunk.
    """
    full_s, busiest_s, others_s = stages.full.total, stages.busiest.total, (pp - 1) * stages.others.total
    before_s = (stages.num_full - 1) * full_s
    after_s = (others_s - before_s - stages.last.total) / vpp + np.where(vpp > 1, stages.last_chunk, stages.last.total)
    ahead = np.minimum(pp - stages.num_full, count - 1) * np.where(vpp > 1, 2, 1) / vpp
    idle_s = np.maximum(after_s - ahead * stages.full.forward, 0) + np.maximum(
        after_s - ahead * stages.full.backward, 0
    )
    fill_s = np.where(busiest_s > full_s, others_s / vpp, before_s / vpp + idle_s)
    fill_s = fill_s + (vpp - 1) / vpp * np.maximum(0, pp - count) * others_s / np.maximum(pp - 1, 1)
    chunk_s = full_s / vpp
    rounds_s = count * (full_s - chunk_s + stages.last_chunk - chunk_s / pp - busiest_s) + pp * chunk_s
    return np.where((vpp > 1) & (stages.last_chunk > chunk_s), np.maximum(fill_s, rounds_s), fill_s)


def _zero_bubble_s(pp: Floats, stages: Stages, count: Floats, *, deep: bool) -> Floats:
    """Wait of ZB-H1, or of ZB-H2 (``deep``), which goes on to the next step without waiting for the others.

    A weight gradient fills a wait as far as it is no longer than a forward pass; where one stage is busier than the
    others, they make up for what is lost by that, microbatch by microbatch.
    """
    forward, weight = stages.others.forward, stages.busiest.weight_gradient
    gradient = stages.others.backward - stages.others.weight_gradient
    num_filled = np.minimum((2 if deep else 1) * (pp - 1), count - 1)
    made_up = (count - 1) * np.maximum(stages.busiest.total - stages.others.total, 0)
    lost = np.maximum(num_filled * np.maximum(weight - stages.busiest.forward, 0) - made_up, 0)
    least = 0.0 if deep else (pp - 1) * forward
    return np.maximum((pp - 1) * (forward + gradient) - num_filled * weight + lost, least)


def _v_shaped_s(pp: Floats, stages: Stages, count: Floats) -> Floats:
    """Wait of ZB-V; where one stage is busier than the others, microbatch by microbatch they make up for part of it."""
    forward, weight = stages.others.forward, stages.others.weight_gradient
    gradient = stages.others.backward - weight
    few = np.maximum(pp - count, 0) * forward
    wait = (pp - 1) * np.maximum(forward, gradient) + few - np.clip(count - pp, 0, pp - 1) * weight
    wait = np.maximum(wait, (pp - 1) * np.abs(forward - gradient) / 2)
    made_up = (count - 1) * np.maximum(stages.busiest.total - stages.others.total, 0)
    return np.maximum(wait - made_up, wait * (pp / 2 - 1) / np.maximum(pp - 1, 1))


def _bidirectional_s(pp: Floats, stages: Stages, count: Floats) -> Floats:
    """Wait of DualPipe; with fewer microbatches than twice the stages weight gradients cannot all be put off.

    While the pipeline fills and drains, its stages do not meet the output layer that half of the microbatches have.
    """
    forward, weight = stages.full.forward, stages.full.weight_gradient
    gradient, half = stages.full.backward - weight, np.maximum(pp / 2 - 1, 0)
    early = np.minimum(half * (gradient - forward), forward)
    enough = np.maximum(half * (forward + 2 * gradient - weight) - early, 2 * half * forward)
    unmet = 2 * (pp - 1) * np.maximum(stages.busiest.total - stages.full.total, 0)
    few = half * (2 * gradient + weight) + (pp - count) * forward
    return np.where(count > pp, np.maximum(enough - unmet, 0) + np.maximum(2 * pp - count, 0) * weight, few)


def send_waits(
    schedule: PipelineSchedule, pp: Floats, vpp: Floats, num_microbatches: Floats, overlapped: Numeric, spared: Numeric
) -> Floats:
    """How many sends between stages a step waits for, of which ``overlapped`` of the steady ones do not count.

    A stage receives every chunk of every microbatch once forward and once backward, but for those that begin and end
    on it. Filling and draining the pipeline waits for one send a stage and direction, which nothing hides, and where
    the steady ones are hidden for one more each further round of chunks.

    Plain 1F1B and DualPipe hide none: what a stage receives is what it needs next, so that a send beside computation is
    waited for all the same. The last of several stages receives nothing backward; ``spared`` is the share of these
    sends that do not count because it is so much busier than the others.
    """
    steady = 2 * (2 if schedule == "zb-v" else vpp)
    if schedule == "zb-v":
        steady = np.where(pp > 2, steady, 2)
    elif schedule not in ("gpipe", "dualpipe"):
        steady = steady - np.where((pp == 2) | (vpp > 1), 1, spared)
    hidden: Numeric = 0.0 if schedule == "dualpipe" else overlapped
    if schedule == "1f1b":
        hidden = np.where(vpp > 1, overlapped, 0.0)
    fill = 2 * (pp - 1) * (1 + hidden * (vpp - 1))
    return np.where(pp > 1, steady * (num_microbatches - 1) * (1 - hidden) + fill, 0)
