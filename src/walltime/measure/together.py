"""Processes that measure the same at the same time, and what they have to agree on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from walltime.measure.devices import Device
from walltime.measure.ranks import Place
from walltime.measure.requirements import torch_module
from walltime.problems import Problem

T = TypeVar("T")


@dataclass(frozen=True)
class Together:
    """The processes of a measurement, inside `walltime.measure.ranks.process_group`; alone, all is agreed.

    Every method but the properties must be called by all of them, equally often and in the same order.

    Attributes
    ----------
    where, device
        This process, and what it measures.
    """

    where: Place
    device: Device

    @property
    def _is_alone(self) -> bool:
        return self.where.num_ranks == 1

    def barrier(self) -> None:
        """Wait for everybody."""
        self.all_agree(True)

    def all_agree(self, yes: bool) -> bool:
        """Return whether everybody says yes."""
        return -self.largest(-float(yes)) > 0

    def largest(self, value: float) -> float:
        """Return the largest value of anybody."""
        if self._is_alone:
            return value
        return max(row[0] for row in self.everybodys([value]))

    def everybodys(self, values: list[float]) -> list[list[float]]:
        """Return the values of each process, by rank; all give as many."""
        if self._is_alone:
            return [values]
        torch = torch_module()
        mine = torch.tensor(values, dtype=torch.float64, device=self.device.torch_name)
        parts = [torch.empty_like(mine) for _ in range(self.where.num_ranks)]
        torch.distributed.all_gather(parts, mine)
        return [part.tolist() for part in parts]

    def the_first_does(self, work: Callable[[], T]) -> T | None:
        """Have the first process do something, and return what came of it there; None in the others.

        Raises
        ------
        Problem
            What the first process was told, in all of them, so that none waits for the others; if anything else went
            wrong there, the others are told so in a line.
        """
        done, error = None, None
        if self.where.is_first:
            try:
                done = work()
            except Exception as found:
                error = found
        told = self.the_firsts(None if error is None else _for_the_others(error))
        if error is not None:
            raise error
        if told is not None:
            raise told
        return done

    def the_firsts(self, value: Any) -> Any:
        """Return what the first process has; it must be picklable."""
        if self._is_alone:
            return value
        box = [value]
        torch_module().distributed.broadcast_object_list(box, src=0)
        return box[0]


def _for_the_others(error: Exception) -> Problem:
    """Return what the others raise, which can be sent to them."""
    return error if isinstance(error, Problem) else Problem(f"the first process ended with {error!r}.")
