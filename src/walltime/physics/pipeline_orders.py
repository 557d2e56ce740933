"""Pipeline schedules as lists: in which order each stage works through its passes.

A stage does its passes one after the other, each as soon as what it needs has arrived; when that is, is decided by
whoever knows how long passes take (`walltime.physics.pipeline_simulation`). A schedule never looks at times.

References
----------
Narayanan et al. (2021), section 2.2, for ``gpipe``, ``1f1b`` and its interleaved form; Qi et
al. (2024), figures 2 and 3, for ``zb-h1`` and ``zb-h2``, and section 6 for ``zb-v``; Liu et al. (2024), DeepSeek-V3,
figure 5, for ``dualpipe``.
"""

from itertools import pairwise
from typing import Literal, NamedTuple

from walltime.plan import PipelineSchedule

PassKind = Literal["forward", "backward", "input_gradient", "weight_gradient", "overhead"]
"""``backward`` is both gradients at once; ``overhead`` what a microbatch costs a stage besides."""


class Pass(NamedTuple):
    """One pass of one microbatch over one chunk of a stage.

    Attributes
    ----------
    kind, chunk, microbatch
        What it is.
    is_paired
        Whether it runs together with the next: both start when both can, and put out at the end of both.
    """

    kind: PassKind
    chunk: int
    microbatch: int
    is_paired: bool = False


class Place(NamedTuple):
    """A chunk of the model on a stage."""

    stage: int
    chunk: int


Order = list[Pass]


def num_chunks(schedule: PipelineSchedule, vpp: int) -> int:
    """Return how many chunks a stage holds: both halves of a V, or one of each direction of ``dualpipe``."""
    return 2 if schedule in ("zb-v", "dualpipe") else vpp


def routes(schedule: PipelineSchedule, pp: int, vpp: int) -> list[list[Place]]:
    """Return the ways of microbatches through the stages, from embedding to output layer.

    There is one, which an interleaved pipeline goes round by round and a V there and back; microbatches of
    ``dualpipe`` take either of two, in opposite directions.
    """
    stages = range(pp)
    if schedule == "zb-v":
        return [[Place(stage, 0) for stage in stages] + [Place(stage, 1) for stage in reversed(stages)]]
    if schedule == "dualpipe":
        return [[Place(stage, 0) for stage in stages], [Place(stage, 1) for stage in reversed(stages)]]
    return [[Place(stage, chunk) for chunk in range(vpp) for stage in stages]]


def pipeline_orders(schedule: PipelineSchedule, pp: int, vpp: int, num_microbatches: int) -> list[Order]:
    """Return what each stage does, in order.

    Parameters
    ----------
    schedule, pp, vpp
        The schedule, its stages and chunks.
    num_microbatches
        Microbatches of a pipeline; ``dualpipe`` sends the first half in at the first stage, the second at the last.

    Notes
    -----
    Schedules that need more microbatches than there are (``zb-v`` twice as many as stages less one, ``dualpipe``
    twice as many) are made for as many as they need, and the passes of microbatches that do not exist are left out.
    """
    count = num_microbatches
    if schedule == "gpipe":
        return [_passes("forward", range(count)) + _passes("backward", range(count)) for _ in range(pp)]
    if schedule == "1f1b":
        return [_interleaved(stage, pp, vpp, count) for stage in range(pp)]
    if schedule in ("zb-h1", "zb-h2"):
        return [_zero_bubble(stage, pp, count, deep=schedule == "zb-h2") for stage in range(pp)]
    if schedule == "zb-v":
        return [_existing(_v_shaped(stage, pp, max(count, 2 * pp - 1)), count) for stage in range(pp)]
    half = count // 2
    orders = (_existing(_bidirectional(stage, pp, max(half, pp)), half) for stage in range(pp))
    return [[each._replace(microbatch=each.microbatch + half * each.chunk) for each in order] for order in orders]


def _passes(kind: PassKind, microbatches: range, chunk: int = 0) -> Order:
    return [Pass(kind, chunk, microbatch) for microbatch in microbatches]


def _existing(order: Order, count: int) -> Order:
    """Leave out the passes of microbatches beyond ``count`` a chunk; what was paired with one of them is not."""
    found = []
    for each, following in zip(order, [*order[1:], order[-1]], strict=True):
        if each.microbatch < count:
            found.append(each._replace(is_paired=each.is_paired and following.microbatch < count))
    return found


def _groups(pp: int, count: int) -> list[range]:
    """Return the rounds in which microbatches go through the chunks of an interleaved pipeline: ``pp`` or more each."""
    rounds = max(1, count // pp)
    ends = [count * i // rounds for i in range(rounds + 1)]
    return [range(first, last) for first, last in pairwise(ends)]


def _interleaved(stage: int, pp: int, vpp: int, count: int) -> Order:
    """Return 1F1B of ``vpp`` chunks: forward passes that fill the pipeline, then one and one, then what is left."""
    groups = _groups(pp, count)
    chunks = range(vpp)
    forward = [f for group in groups for chunk in chunks for f in _passes("forward", group, chunk)]
    backward = [b for group in groups for chunk in reversed(chunks) for b in _passes("backward", group, chunk)]
    largest = max(len(group) for group in groups)
    ahead = pp - 1 - stage if vpp == 1 else 2 * (pp - 1 - stage) + (vpp - 1) * largest
    return _one_and_one(forward, backward, min(ahead, len(forward)))


def _one_and_one(forward: Order, backward: Order, ahead: int) -> Order:
    order = forward[:ahead]
    for one, other in zip(forward[ahead:], backward, strict=False):
        order += [one, other]
    return order + backward[len(forward) - ahead :]


def _zero_bubble(stage: int, pp: int, count: int, *, deep: bool) -> Order:
    """Return ZB-H1, or ZB-H2 (``deep``), which starts nearly twice as many microbatches before the first is back.

    Weight gradients begin as late as lets the last stage finish with the others: it puts off as many as they wait.
    """
    ahead = min(2 * (pp - 1 - stage) if deep else pp - 1 - stage, count)
    put_off = min(2 * stage if deep else stage, count)
    order = _passes("forward", range(ahead))
    for microbatch in range(count):
        if ahead + microbatch < count:
            order.append(Pass("forward", 0, ahead + microbatch))
        order.append(Pass("input_gradient", 0, microbatch))
        if microbatch >= put_off:
            order.append(Pass("weight_gradient", 0, microbatch - put_off))
    return order + _passes("weight_gradient", range(count - put_off, count))


class _Work:
    """Passes of two chunks as they are written down: those of a kind and chunk are of one microbatch after the other.

    Gradients of weights are put off until they are asked for, those that have waited longest first.
    """

    def __init__(self) -> None:
        self.order: Order = []
        self.counts = {(kind, chunk): 0 for kind in ("forward", "gradient") for chunk in (0, 1)}
        self.put_off: list[Pass] = []

    def do(self, kind: PassKind, chunk: int, *, paired: bool = False) -> None:
        counted = kind if kind == "forward" else "gradient"
        microbatch = self.counts[counted, chunk]
        self.counts[counted, chunk] += 1
        self.order.append(Pass(kind, chunk, microbatch, paired))
        if kind == "input_gradient":
            self.put_off.append(Pass("weight_gradient", chunk, microbatch))

    def pair(self, forward: int, backward: int) -> None:
        """Do a forward pass of one chunk and a backward pass of another together."""
        self.do("forward", forward, paired=True)
        self.do("backward", backward)

    def gradients(self, chunk: int) -> None:
        """Do both gradients, that of the input first, for which another stage waits."""
        self.do("input_gradient", chunk)
        self.finish(1)

    def finish(self, count: int) -> None:
        self.order += self.put_off[:count]
        del self.put_off[:count]


def _v_shaped(stage: int, pp: int, count: int) -> Order:
    """Return ZB-V: chunk 0 on the way there, chunk 1 on the way back, so that all stages keep equally much."""
    work = _Work()
    after = pp - 1 - stage
    for _ in range(2 * after + 1):
        work.do("forward", 0)
    for _ in range(stage):
        work.do("forward", 1)
        work.do("forward", 0)
    for _ in range(after + 1):
        work.do("forward", 1)
        work.gradients(1)
    for started in range(pp + after, count + after):
        if started < count:
            work.do("forward", 0)
        work.gradients(0)
        work.do("forward", 1)
        work.gradients(1)
    for _ in range(stage):
        work.do("input_gradient", 0)
        work.do("input_gradient", 1)
    for _ in range(after + 1):
        work.do("input_gradient", 0)
        work.finish(1)
    work.finish(len(work.put_off))
    return work.order


def _bidirectional(stage: int, pp: int, half: int) -> Order:
    """Return DualPipe of ``half`` microbatches each way, as many as stages or more.

    Chunk 0 is nearer its first stage in the first half of the stages; in the second, chunk 1 is.
    """
    work = _Work()
    inner = min(stage, pp - 1 - stage)
    outer = pp // 2 - 1 - inner
    near, far = (0, 1) if stage < pp // 2 else (1, 0)
    for _ in range(2 * outer):
        work.do("forward", near)
    for _ in range(inner + 1):
        work.do("forward", near)
        work.do("forward", far)
    for _ in range(outer):
        work.gradients(far)
        work.do("forward", far)
    for i in range(half - pp + inner + 1):
        work.do("forward", near, paired=i > 0 or outer > 0)
        work.do("backward", far)
        work.pair(far, near)
    for _ in range(outer):
        work.do("backward", far)
        work.pair(far, near)
    _drain(work, (far, near), inner, outer)
    return work.order


def _drain(work: _Work, chunks: tuple[int, int], inner: int, outer: int) -> None:
    """Finish DualPipe's backward passes, in the second half of them putting weight gradients off."""
    for i in range(2 * (inner + 1)):
        work.do("backward" if i <= inner else "input_gradient", chunks[i % 2])
    for _ in range(outer):
        work.finish(1)
        work.do("input_gradient", chunks[1])
    work.finish(len(work.put_off))
