r"""Lower bounds on the time and the memory of every plan in a row of the space, with their proofs.

A row is a layout with a micro-batch (`walltime.search.layouts.Rows`). Search drops a row whose bound on time exceeds a
time already reached, or whose bound on memory exceeds what is there; so what it returns is what brute force would
return. A property test compares the two, and the bounds with every plan.

**Time.** A step is work, exposed communication, bubble, sends, overhead, data-parallel traffic and optimizer
(`walltime.engines.step`). The last two are not negative; the others do not depend on sharding. Of what is chosen inside
a row:

- Recomputation adds work and repeats communication. Of communication at most a share hides, and at most as long as
  the work takes, so a layer takes :math:`w + c - \min(\sigma c, w)`, which does not fall as w or c grows; with the
  host, it takes the norm of this and of the host's time, which does not fall either. So no recomputation bounds all.
- Chunks a stage, and the schedule, decide bubble and sends, which are left out. More chunks are tried only where the
  fullest stage stays as full, so the work of a stage is that of one chunk.
- Precision, sequence parallelism, the algorithm of context parallelism and the order on the network are tried: the
  least over all of them is taken. So is DualPipe, beside whose passes expert traffic hides.

**Memory.** What a plan needs on a stage is state, m, that what comes and goes, buffers and reserves. Sharding over
more ranks never adds state; m grows with chunks (:math:`p - i` microbatches in flight at least) and without sequence
parallelism; with full recomputation of a share of the layers it is a mean of none and all, beside the same workspace,
so all layers bound it. Where buffers are what gradients need beyond m, m and buffers together do not fall as m grows.
So the least over schedules, kinds of recomputation and of sharding over all ranks, and algorithms of context
parallelism, with one chunk, bounds every plan of a row. Larger micro-batches keep no less,
:math:`b \min(p, n / b)` sequences in flight; so where the smallest does not fit, none does (unless ZeRO-3 keeps
parameters, whose gradients are whole only with several microbatches).
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from walltime.arrays import Floats, Indices, Mask
from walltime.engines.calibration import Calibration
from walltime.engines.stack import Stack
from walltime.engines.step import without_data_parallelism
from walltime.engines.transformer_memory import MemoryNumbers, memory_bytes, needed_bytes
from walltime.search.layouts import Rows
from walltime.search.space import Branch, Space

_OF_SCHEDULES = ("bubble", "pp_comm")
BLOCK = 16384
"""Plans that an engine takes at a time: their arrays fit the caches."""


@dataclass(frozen=True)
class LeastTimes:
    """Lower bounds on the steps of rows. [s]

    Attributes
    ----------
    of_branch : mapping of branch to (rows,)
        Of the plans of all branches that `bounding` takes to one, infinite where they do not go with a row; rounded
        down to 32 bits. Branches without an entry have the bounds of all plans.
    of_row : (rows,)
        Of all plans.
    """

    of_branch: Mapping[Branch, Floats]
    of_row: Floats

    def take(self, index: Indices | Mask) -> "LeastTimes":
        """Return the bounds of some of the rows."""
        return LeastTimes({branch: times[index] for branch, times in self.of_branch.items()}, self.of_row[index])

    def of(self, branch: Branch) -> Floats:
        """Bound the plans of one branch, (rows,). [s]"""
        return self.of_branch.get(bounding(branch), self.of_row)

    def of_all(self) -> "LeastTimes":
        """Return the same without branches, for a space in which a row's plans may be of other branches."""
        return LeastTimes({}, self.of_row)


def bounding(branch: Branch) -> Branch:
    """Return the branch whose least time bounds this one's: without recomputation, whatever the schedule but DualPipe.

    Recomputation ``full`` stands for that of no layer.
    """
    return replace(branch, schedule="dualpipe" if branch.schedule == "dualpipe" else "1f1b", recompute="full")


def least_times(space: Space, rows: Rows, among: Indices, stack: Stack, numbers: Calibration) -> LeastTimes:
    """Bound the steps of every plan of some rows from below; of the others they stay infinite.

    Parameters
    ----------
    space, rows
        What is tried.
    among
        Places of the rows that are looked at.
    stack, numbers
        As for the engine.
    """
    of_branch = {}
    for branch in dict.fromkeys(map(bounding, space.branches())):
        bound = np.full(len(rows), np.inf, dtype=np.float32)
        index = among[space.shares_choices(rows.take(among), branch)]
        for at in blocks(index):
            plans = replace(rows.plans.take(at), **vars(branch))
            parts_s = without_data_parallelism(space.training, plans, stack, numbers).parts_s
            time_s = sum(part_s for name, part_s in parts_s.items() if name not in _OF_SCHEDULES)
            bound[at] = np.nextafter(np.asarray(time_s, dtype=np.float32), np.float32(0))
        of_branch[branch] = bound
    return LeastTimes(of_branch, np.minimum.reduce([np.full(len(rows), np.inf), *of_branch.values()]))


def least_bytes(space: Space, rows: Rows, stack: Stack, numbers: MemoryNumbers, enough_bytes: float = 0.0) -> Floats:
    """Bound the memory that every plan of each row needs on its fullest accelerator from below, (rows,). [B]

    Where some plan of a row is found to need no more than ``enough_bytes``, the row gets what that one needs: it is
    not looked at further.
    """
    bound = np.full(len(rows), np.inf)
    left = np.arange(len(rows))
    if all(kind.reshard for kind in space.shardings()):  # then the smallest micro-batch needs least
        of_layout = np.full(int(rows.layout.max(initial=-1)) + 1, np.inf)
        np.minimum.at(of_layout, rows.layout, rows.plans.micro_batch)
        is_first = rows.plans.micro_batch == of_layout[rows.layout]
        first = np.flatnonzero(is_first)
        bound[first] = _least_bytes(space, rows.take(first), stack, numbers, enough_bytes)
        of_layout[rows.layout[first]] = bound[first]
        fits = of_layout[rows.layout] <= enough_bytes
        bound = np.where(fits, bound, of_layout[rows.layout])
        left = np.flatnonzero(fits & ~is_first) if enough_bytes else left
    bound[left] = _least_bytes(space, rows.take(left), stack, numbers, enough_bytes)
    return bound


def _least_bytes(space: Space, rows: Rows, stack: Stack, numbers: MemoryNumbers, enough_bytes: float) -> Floats:
    """Return the least memory over what may need least, (rows,). [B]"""
    bound = np.full(len(rows), np.inf)
    for (branch, share), kind in itertools.product(_saving_branches(space), space.shardings()[::-1]):
        index = np.flatnonzero(space.belongs(rows, branch, any_order=True) & (bound > enough_bytes))
        for block in blocks(index):
            at = block[space.allows_sharding(rows.plans.take(block), kind)]
            if not len(at):
                continue
            choices: dict[str, Any] = vars(branch) | vars(kind) | {"offload_optimizer": space.offload}
            plans = replace(rows.plans.take(at), recompute_layers=np.full(len(at), share), **choices)
            needed = needed_bytes(memory_bytes(space.training, plans, stack, numbers))
            bound[at] = np.minimum(bound[at], needed)
    return bound


def _saving_branches(space: Space) -> list[tuple[Branch, float]]:
    """Return branches, and shares of layers recomputed, of which one needs least; those that save much come first."""
    order = next(iter((*space.runs.orders, *space.runs.folded_orders)), None)
    found = []
    for branch in space.branches():
        if branch.order == order:
            found += [(branch, share) for share in ([1.0, 0.0] if branch.recompute == "full" else [1.0])]
    return sorted(found, key=lambda one: (-one[1], one[0].recompute != "full"))


def blocks(index: Any) -> list[Any]:
    """Cut positions into blocks of at most `BLOCK`."""
    return [index[start : start + BLOCK] for start in range(0, len(index), BLOCK)]
