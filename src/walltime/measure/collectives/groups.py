"""The groups of ranks whose collectives are measured, all groups of one shape at once, as they work in training."""

from dataclasses import dataclass
from typing import Any

from walltime.measure.ranks import Place
from walltime.measure.requirements import torch_module
from walltime.problems import unknown

WHOLE, INSIDE, ACROSS, PART = "whole", "inside a node", "across nodes", "part of a node"
GROUP_NAMES = {"whole": WHOLE, "node": INSIDE, "across": ACROSS, "part": PART}
"""Groups as ``--group`` names them."""


@dataclass(frozen=True)
class Shape:
    """Groups of one shape, which together have all ranks.

    Attributes
    ----------
    name
        ``whole``, ``inside a node``, ``across nodes`` or ``part of a node``.
    num_ranks, num_nodes
        Of each group.
    stride
        From one rank of a group to the next.
    num_groups
        Of this shape.
    """

    name: str
    num_ranks: int
    num_nodes: int
    stride: int
    num_groups: int

    def ranks(self, rank: int) -> list[int]:
        """Return the ranks of the group that a rank is in."""
        block = self.num_ranks * self.stride
        first = rank // block * block + rank % self.stride
        return [first + place * self.stride for place in range(self.num_ranks)]


def shapes(where: Place) -> list[Shape]:
    """Return the shapes of groups that the processes can form: nodes must have as many ranks each.

    Examples
    --------
    >>> [(shape.name, shape.num_ranks) for shape in shapes(Place(num_ranks=4, num_local_ranks=4))]
    [('whole', 4), ('part of a node', 2)]
    """
    number, local = where.num_ranks, where.num_local_ranks
    found = [Shape(WHOLE, number, where.num_nodes, 1, 1)]
    if number % local:
        return found
    if 1 < local < number:
        found.append(Shape(INSIDE, local, 1, 1, where.num_nodes))
        found.append(Shape(ACROSS, where.num_nodes, where.num_nodes, local, local))
    size = 2
    while size < local:
        if local % size == 0:
            found.append(Shape(PART, size, 1, 1, number // size))
        size *= 2
    return found


def chosen(found: list[Shape], names: tuple[str, ...]) -> list[Shape]:
    """Return the shapes that were asked for; all without a word.

    Raises
    ------
    BadInput
        The processes form no group of that name.
    """
    if not names:
        return found
    have = {shape.name for shape in found}
    for name in names:
        if GROUP_NAMES.get(name) not in have:
            raise unknown(
                "group of these processes", name, [key for key, value in GROUP_NAMES.items() if value in have]
            )
    return [shape for shape in found if shape.name in {GROUP_NAMES[name] for name in names}]


def process_group_of(shape: Shape, rank: int) -> Any:
    """Return PyTorch's group of a rank; every rank of the group must call this."""
    distributed = torch_module().distributed
    if shape.num_groups == 1:
        return distributed.group.WORLD
    return distributed.new_group(shape.ranks(rank), use_local_synchronization=True)
