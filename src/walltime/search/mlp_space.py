"""Spaces of plans: which degrees, splits, microbatch counts and interleavings are tried."""

import bisect
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from walltime.arrays import Floats, Indices, Mask
from walltime.plan import MlpPlanBatch, Schedule, divisors, smallest_num_microbatches
from walltime.problems import unknown
from walltime.search.expand import expand
from walltime.workload import MlpStack

_LARGEST_SQUARE_RATIO = 4  # the published search splits T with isqrt(T) <= T_f <= 4 isqrt(T)
_NUM_KEPT: dict[Schedule, int] = {"1f1b": 4, "zero-bubble": 1}  # microbatch counts that it tries


@dataclass(frozen=True)
class Space:
    """A stated space of plans for one model and cluster size. Every plan in it divides the model exactly.

    Attributes
    ----------
    name
        ``published``: expert parallelism gcd(N, E); tensor splits T_f x T_m with isqrt(T) <= T_f <= 4 isqrt(T);
        the four fewest microbatches that fill a 1F1B pipeline, the fewest for zero-bubble; a 1F1B pipeline
        interleaved as far as it goes (docs: Search).
        ``full``: every expert parallelism that divides N and E, every split, every microbatch count that divides
        the batch, every interleaving that divides a stage's layers.
    """

    name: str

    def __post_init__(self) -> None:
        """Refuse unknown spaces."""
        if self.name not in ("published", "full"):
            raise unknown("space", self.name, ("published", "full"))

    def expert_degrees(self, model: MlpStack, num_gpus: int) -> Sequence[int]:
        """Return the expert-parallel degrees that are tried."""
        largest = math.gcd(num_gpus, model.num_experts)
        return (largest,) if self.name == "published" else divisors(largest)

    def data_degrees(self, model: MlpStack, ranks: int) -> Sequence[int]:
        """Return the data-parallel degrees that are tried on ``ranks`` accelerators.

        As published they divide the batch, so that a share of an expert's tokens may be rounded down; in the full
        space they divide an expert's share of the batch.
        """
        divided = model.batch_tokens if self.name == "published" else model.batch_tokens // model.num_experts
        return divisors(math.gcd(ranks, divided))

    def splits(self, model: MlpStack, tp: int) -> tuple[tuple[int, int], ...]:
        """Return every (T_m, T_f) of one tensor-parallel degree."""
        return _splits(tp, model.d_model, model.d_ff, self.name == "published")

    def microbatch_counts(self, model: MlpStack, dp: int, pp: int, schedule: Schedule) -> tuple[int, ...]:
        """Return the microbatch counts that are tried, ascending."""
        counts = divisors(max(1, model.batch_tokens // (model.num_experts * dp)))
        enough = counts[bisect.bisect_left(counts, smallest_num_microbatches(schedule, pp)) :]
        return enough[: _NUM_KEPT[schedule]] if self.name == "published" else enough

    def interleavings(self, model: MlpStack, pp: int, schedule: Schedule) -> tuple[int, ...]:
        """Return the numbers of chunks a stage that are tried."""
        if schedule == "zero-bubble" or pp == 1:
            return (1,)
        most = model.num_layers // pp
        return (most,) if self.name == "published" else divisors(most)


PUBLISHED = Space("published")
FULL = Space("full")


@functools.lru_cache(maxsize=65536)
def _splits(tp: int, d_model: int, d_ff: int, nearly_square: bool) -> tuple[tuple[int, int], ...]:
    if d_model * d_ff % tp:
        return ()
    root = math.isqrt(tp)
    return tuple(
        (tp // tp_ff, tp_ff)
        for tp_ff in divisors(tp)
        if d_ff % tp_ff == 0
        and d_model % (tp // tp_ff) == 0
        and (not nearly_square or root <= tp_ff <= _LARGEST_SQUARE_RATIO * root)
    )


@dataclass(frozen=True)
class Shares:
    """Degrees without microbatches, schedule or placement, as arrays (shares,) of whole numbers."""

    dp: Floats
    tp_model: Floats
    tp_ff: Floats
    pp: Floats
    ep: Floats

    def __len__(self) -> int:
        return len(self.dp)

    def take(self, index: Indices | Mask | slice) -> "Shares":
        """Return some of them."""
        return Shares(*(getattr(self, name)[index] for name in ("dp", "tp_model", "tp_ff", "pp", "ep")))

    def plans(self, num_microbatches: Floats, interleave: Floats, schedule: Schedule) -> MlpPlanBatch:
        """Return plans on one network level."""
        return MlpPlanBatch(
            dp=self.dp[:, None],
            tp_model=self.tp_model[:, None],
            tp_ff=self.tp_ff[:, None],
            pp=self.pp[:, None],
            ep=self.ep[:, None],
            num_microbatches=num_microbatches,
            interleave=interleave,
            schedule=schedule,
        )


@dataclass(frozen=True)
class Grid:
    """Degrees before tensor parallelism is split in two, as arrays (points,) of whole numbers."""

    dp: Floats
    tp: Floats
    pp: Floats
    ep: Floats

    def take(self, index: Mask) -> "Grid":
        """Return some of the points."""
        return Grid(self.dp[index], self.tp[index], self.pp[index], self.ep[index])


def grid(space: Space, model: MlpStack, num_gpus: int) -> Grid:
    """Return every (DP, TP, PP, EP) whose product is the cluster and that divides batch, depth and experts."""
    pieces = []
    for ep in space.expert_degrees(model, num_gpus):
        ranks = num_gpus // ep
        whole = np.int64 if ranks < 2**62 else object
        dp = np.array(space.data_degrees(model, ranks), dtype=whole)[None, :]
        pp = np.array(divisors(math.gcd(ranks, model.num_layers)), dtype=whole)[:, None]
        rest = ranks // pp
        divides = rest % dp == 0
        tp = (rest // dp)[divides]
        dp_here, pp_here = (np.broadcast_to(a, divides.shape)[divides] for a in (dp, pp))
        pieces.append((dp_here, tp, pp_here, np.full(len(tp), ep)))
    return Grid(*(np.concatenate(column).astype(np.float64) for column in zip(*pieces, strict=True)))


def split(space: Space, model: MlpStack, points: Grid) -> Shares:
    """Return every two-dimensional tensor split of every point."""
    degrees, which = np.unique(points.tp, return_inverse=True)
    if not len(degrees):
        return Shares(*(np.empty(0) for _ in range(5)))
    options = [np.array(space.splits(model, int(tp)), dtype=np.float64).reshape(-1, 2) for tp in degrees]
    index, (tp_model, tp_ff) = expand(options, which)
    return Shares(points.dp[index], tp_model, tp_ff, points.pp[index], points.ep[index])


class Choices:
    """Microbatch counts and interleavings of one model in one space, remembered between cluster sizes."""

    def __init__(self, space: Space, model: MlpStack) -> None:
        self._space = space
        self._model = model
        self._counts: dict[tuple[complex, Schedule], tuple[int, ...]] = {}
        self._pairs: dict[tuple[complex, Schedule], Floats] = {}

    def fewest(self, dp: Floats, pp: Floats, schedule: Schedule) -> Floats:
        """Return the smallest microbatch count of each, infinity where none fills the pipeline, (shares,)."""
        keys, which = np.unique(dp + 1j * pp, return_inverse=True)
        counts = [self._counts_of(key, schedule) for key in keys.tolist()]
        return np.array([c[0] if c else np.inf for c in counts])[which]

    def all(self, dp: Floats, pp: Floats, schedule: Schedule) -> tuple[Indices, Floats]:
        """Return every (microbatch count, interleaving) of each: the index and (2, choices), as `expand`."""
        keys, which = np.unique(dp + 1j * pp, return_inverse=True)
        return expand([self._pairs_of(key, schedule) for key in keys.tolist()], which)

    def _counts_of(self, key: complex, schedule: Schedule) -> tuple[int, ...]:
        if (key, schedule) not in self._counts:
            dp, pp = int(key.real), int(key.imag)
            self._counts[key, schedule] = self._space.microbatch_counts(self._model, dp, pp, schedule)
        return self._counts[key, schedule]

    def _pairs_of(self, key: complex, schedule: Schedule) -> Floats:
        if (key, schedule) not in self._pairs:
            chunks = self._space.interleavings(self._model, int(key.imag), schedule)
            pairs = [(count, interleave) for count in self._counts_of(key, schedule) for interleave in chunks]
            self._pairs[key, schedule] = np.array(pairs, dtype=np.float64).reshape(-1, 2)
        return self._pairs[key, schedule]
