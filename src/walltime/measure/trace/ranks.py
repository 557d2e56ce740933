"""The traces of several ranks beside each other: their mean, the slowest, and the one that the others wait for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from walltime.measure.records import StepParts
from walltime.measure.trace.analysis import RankTrace, mean_parts, rank_traces


@dataclass(frozen=True)
class TraceReport:
    """What traces show.

    Attributes
    ----------
    ranks
        One for each file, or for each accelerator of a file; in order of rank where all say theirs.
    """

    ranks: tuple[RankTrace, ...]

    @property
    def mean(self) -> StepParts:
        """The mean over ranks of their mean steps."""
        parts = mean_parts([rank.mean for rank in self.ranks])
        return replace(parts, num_steps=max(len(rank.steps) for rank in self.ranks))

    @property
    def slowest(self) -> RankTrace:
        """The rank whose steps are longest."""
        return max(self.ranks, key=lambda rank: rank.mean.step_s)

    @property
    def straggler(self) -> RankTrace:
        """The rank that computes longest: the others wait for it in collectives."""
        return max(self.ranks, key=lambda rank: rank.mean.compute_s)

    @property
    def lag_s(self) -> float:
        """How much longer the straggler computes than ranks do in the mean. [s]"""
        return self.straggler.mean.compute_s - self.mean.compute_s

    @property
    def ranks_of_several_runs(self) -> list[int]:
        """Ranks that are there more than once: of these runs no rank waits for one of another."""
        names = Counter((rank.rank, rank.device) for rank in self.ranks if rank.rank is not None)
        return [rank for (rank, _), count in names.items() if count > 1]

    @property
    def notes(self) -> list[str]:
        """What to mind, with the file, a line each."""
        twice = self.ranks_of_several_runs
        several = [f"rank {twice[0]} is there more than once: the mean is over several runs"] if twice else []
        return [*(f"{rank.path}: {note}" for rank in self.ranks for note in rank.notes), *several]


def trace_report(paths: Sequence[Path]) -> TraceReport:
    """Return what traces of one run show, one file for each of its processes.

    Raises
    ------
    BadInput
        A file is no trace.
    """
    found = [rank for path in paths for rank in rank_traces(path)]
    if all(rank.rank is not None for rank in found):
        found.sort(key=lambda rank: (rank.rank, rank.device or 0))
    return TraceReport(tuple(found))
