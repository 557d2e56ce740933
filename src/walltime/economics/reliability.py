"""Goodput: how much of an ideal training is left after failures, checkpoints, restarts and slow nodes."""

from dataclasses import dataclass, fields

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.physics import failures
from walltime.problems import BadInput
from walltime.units import positive, shortened

PARTS = ("training", "checkpoints", "lost work", "restarts", "waiting for spares", "stragglers")
"""Where the time of a training goes, in the order in which it is shown; shares of it that add up to 1."""
MOST_SPARES = 100_000
"""The most spare nodes that are accepted: their probabilities are still computed in a moment."""
_MAY_BE_ZERO = ("checkpoint_s", "restart_s", "write_s", "slow_share", "slow_by")
_MAY_BE_NONE = ("interval_s", "spare_nodes", "repair_s")


@dataclass(frozen=True)
class Reliability:
    """What decides how much of an ideal training is left; each field can be replaced (`dataclasses.replace`).

    Attributes
    ----------
    gpu_mtbf_s, node_mtbf_s
        Mean time between failures of one accelerator, and of everything else for each node. [s]
    gpus_per_node
        Accelerators a node.
    restart_s
        From a failure to the first new step: detection, replacement, loading, warm-up. [s]
    checkpoint_s
        By which a checkpoint stops training. [s]
    write_s
        From when training goes on to when the checkpoint can be restarted from; 0 where training waits for it. [s]
    interval_s
        Training time between two checkpoints; None for the best one. [s]
    spare_nodes
        Nodes that wait to replace failed ones; None for as many as it takes.
    repair_s
        Mean time until a failed node is among the spares again, which numbers of spare nodes need. [s]
    slow_share, slow_by
        Share of the nodes that are slow at a time, and by which share of its time a slow node's step is longer.

    Examples
    --------
    >>> llama3 = Reliability(285.2e6, 48.26e6, 8, restart_s=603.0, checkpoint_s=2.1, write_s=2.8)
    >>> float(llama3.interruptions_per_day(16_384)).__round__(2), float(llama3.effective_share(16_384)).__round__(3)
    (8.63, 0.922)
    """

    gpu_mtbf_s: float
    node_mtbf_s: float
    gpus_per_node: int
    restart_s: float
    checkpoint_s: float
    write_s: float = 0.0
    interval_s: float | None = None
    spare_nodes: int | None = None
    repair_s: float | None = None
    slow_share: float = 0.0
    slow_by: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is not a time, a number of nodes or a share."""
        for field in fields(self):
            _check(field.name, getattr(self, field.name))
        if self.checkpoint_s == 0 and self.interval_s is None:
            raise BadInput("checkpoint_s=0 has no best interval. Valid: a positive checkpoint_s, or an interval_s.")
        if self.spare_nodes is not None:
            self._repair_s()
        if self.interval_s is not None and self.interval_s < self.write_s:
            raise BadInput(
                f"interval_s={self.interval_s:g} must be at least write_s={self.write_s:g}: one write a time."
            )

    def failures_per_s(self, num_gpus: Numeric) -> Floats:
        """Interruptions while training goes on [1/s].

        Parameters
        ----------
        num_gpus
            Accelerators, one number or an array.
        """
        return failures.failures_per_s(_counts(num_gpus), self.gpus_per_node, self.gpu_mtbf_s, self.node_mtbf_s)

    def interruptions_per_day(self, num_gpus: Numeric) -> Floats:
        """Interruptions in a day in which training waits for nothing [1/day]."""
        return 24 * 3600.0 * self.failures_per_s(num_gpus)

    def interval_s_of(self, num_gpus: Numeric) -> Floats:
        """Training time between two checkpoints [s]: as given, or the best one that leaves time to write them."""
        rate = self.failures_per_s(num_gpus)
        if self.interval_s is not None:
            return np.full_like(rate, self.interval_s)
        return np.maximum(failures.optimal_interval_s(rate, self.checkpoint_s), self.write_s)

    def parts(self, num_gpus: Numeric) -> dict[str, Floats]:
        """Shares of the time by what it is spent on, which add up to 1.

        ``training`` is in units of a training without slow nodes; what they cost is in ``stragglers``.

        Parameters
        ----------
        num_gpus
            Accelerators, one number or an array.
        """
        rate = self.failures_per_s(num_gpus)
        waiting = self.waiting_share(num_gpus)
        active = failures.shares(self.interval_s_of(num_gpus), rate, self.checkpoint_s, self.restart_s, self.write_s)
        found = {name: (1 - waiting) * share for name, share in active.items()}
        kept = found["training"] * self.synchronous_speed(num_gpus)
        found |= {"training": kept, "waiting for spares": waiting, "stragglers": found["training"] - kept}
        return {name: found[name] for name in PARTS}

    def effective_share(self, num_gpus: Numeric) -> Floats:
        """Share of an ideal training's progress that is made: tokens a second times this is goodput."""
        return self.parts(num_gpus)["training"]

    def waiting_share(self, num_gpus: Numeric) -> Floats:
        """Share of the time in which training waits for a repair; 0 with as many spares as it takes."""
        rate = self.failures_per_s(num_gpus)
        if self.spare_nodes is None:
            return np.zeros_like(rate)
        return failures.waiting_share(rate, self._repair_s(), self.spare_nodes)

    def synchronous_speed(self, num_gpus: Numeric) -> Floats:
        """Mean speed of steps that wait for the slowest node, 1 where no node is slow."""
        nodes = np.ceil(_counts(num_gpus) / self.gpus_per_node)
        return failures.synchronous_speed(nodes, self.slow_share, self.slow_by)

    def spare_nodes_for(self, num_gpus: int, most_waiting: float) -> int:
        """Return the fewest spare nodes with which training waits for a node no more than a share of the time.

        Parameters
        ----------
        num_gpus
            Accelerators.
        most_waiting
            Share of the time, between 0 and 1.

        Examples
        --------
        >>> Reliability(285.2e6, 48.26e6, 8, 603.0, 2.1, repair_s=86_400.0).spare_nodes_for(16_384, 0.001)
        18
        """
        if not 0 < most_waiting < 1:
            raise BadInput(f"most_waiting={most_waiting:g} must be a share between 0 and 1.")
        rate, repair_s = float(self.failures_per_s(num_gpus)), self._repair_s()
        found = failures.spares_for(rate, repair_s, most_waiting, MOST_SPARES)
        if found is None:
            raise BadInput(f"num_gpus={num_gpus} needs more than {MOST_SPARES:,} spare nodes at repair_s={repair_s:g}.")
        return found

    def _repair_s(self) -> float:
        """Return how long a repair takes, which must be known."""
        if self.repair_s is None:
            raise BadInput("repair_s is not known. Valid with spare nodes: a positive time.")
        return self.repair_s


def _check(name: str, value: float | None) -> None:
    """Refuse a field's value that cannot be."""
    if value is None and name in _MAY_BE_NONE:
        return
    if not isinstance(value, int | float):
        raise BadInput(f"{name}={shortened(value)} must be a number.")
    if name in ("gpus_per_node", "spare_nodes"):
        least = 0 if name == "spare_nodes" else 1
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST_SPARES:
            raise BadInput(f"{name}={value!r} must be a whole number from {least} to {MOST_SPARES:,}.")
    elif name not in _MAY_BE_ZERO:
        positive(value, name)
    elif value != 0:
        positive(value, name)
        if name == "slow_share" and value >= 1:
            raise BadInput(f"slow_share={value:g} must be a share below 1.")


def _counts(num_gpus: Numeric) -> Floats:
    """Return numbers of accelerators as floats; refuse less than one, nan and infinity."""
    try:
        counts = np.asarray(num_gpus, float)
    except (TypeError, ValueError):
        raise BadInput(f"num_gpus={shortened(num_gpus)} must be a number of at least 1.") from None
    wrong = ~(np.isfinite(counts) & (counts >= 1))
    if np.any(wrong):
        raise BadInput(f"num_gpus={float(counts[wrong].flat[0]):g} must be a number of at least 1.")
    return counts
