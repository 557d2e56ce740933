"""The collectives themselves, on buffers of sizes by the convention of nccl-tests, and whether a result is right."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from walltime.measure.collective_rows import ALL_GATHER, ALL_REDUCE, ALL_TO_ALL, REDUCE_SCATTER, SEND_RECV
from walltime.measure.kernels.pool import TORCH_DTYPES
from walltime.measure.requirements import torch_module

WORD_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
IN_PLACE = (ALL_REDUCE,)
"""PyTorch has no other kind of these."""
_PATTERN = 8
"""Values that stand in turn in what a rank sends: small whole numbers, of which any format holds the sum exactly."""


@dataclass(frozen=True)
class Operation:
    """One collective on the buffers of this rank.

    Attributes
    ----------
    run
        Does it once, and returns when its result may be used on this device's stream.
    fill
        Sets what this rank sends.
    is_right
        Whether the result is what it must be, after ``fill`` and one ``run``.
    clear
        Sets what this rank sends to zero, so that sums in place stay finite however often it runs.
    """

    run: Callable[[], Any]
    fill: Callable[[], Any]
    is_right: Callable[[], bool]
    clear: Callable[[], Any]


@dataclass(frozen=True)
class Ring:
    """The ranks of a group as one of them sees it.

    Attributes
    ----------
    group
        PyTorch's.
    ranks
        Their numbers among all.
    position
        Of this one.
    """

    group: Any
    ranks: list[int]
    position: int

    @property
    def size(self) -> int:
        """How many."""
        return len(self.ranks)

    def neighbour(self, step: int) -> int:
        """Return the number of the rank so many places on."""
        return self.ranks[(self.position + step) % self.size]


def actual_bytes(collective: str, size_bytes: int, num_ranks: int, dtype: str) -> int:
    """Return the size that is really measured: whole numbers, in as many equal parts as a collective needs. [B]"""
    word = WORD_BYTES[dtype]
    parts = 1 if collective in (ALL_REDUCE, SEND_RECV) else num_ranks
    return max(1, size_bytes // (word * parts)) * word * parts


def buffer_bytes(collective: str, size_bytes: int, num_ranks: int) -> float:
    """Return what a rank holds for a collective: what it sends, and what it receives elsewhere. [B]"""
    if collective == ALL_REDUCE:
        return size_bytes
    if collective in (ALL_GATHER, REDUCE_SCATTER):
        return size_bytes * (1 + 1 / num_ranks)
    return 2 * size_bytes


def operation(collective: str, size_bytes: int, dtype: str, ring: Ring, device_name: str) -> Operation:
    """Return a collective on new buffers.

    Parameters
    ----------
    collective
        Of `walltime.measure.collective_rows.COLLECTIVES`.
    size_bytes
        As `actual_bytes` returns it.
    dtype
        Of the numbers.
    ring
        The group.
    device_name
        Where the buffers are, as PyTorch calls it.
    """
    torch = torch_module()
    number = size_bytes // WORD_BYTES[dtype]
    wanted = getattr(torch, TORCH_DTYPES[dtype])

    def buffer(length: int) -> Any:
        return torch.zeros(length, dtype=wanted, device=device_name)

    return _BY_NAME[collective](number, ring, buffer)


Buffer = Callable[[int], Any]


def _values(tensor: Any, start: int, rank: int) -> Any:
    """Return what a rank sends from a place on: whole numbers that tell ranks and places apart."""
    torch = torch_module()
    places = torch.arange(start, start + len(tensor), device=tensor.device)
    return ((places + 3 * rank) % _PATTERN).to(tensor.dtype)


def _filled(tensor: Any, rank: int) -> Callable[[], Any]:
    return lambda: tensor.copy_(_values(tensor, 0, rank))


def _sums(tensor: Any, start: int, num_ranks: int) -> Any:
    """Return the sum over the ranks of what they send from a place on."""
    total = _values(tensor, start, 0).to(torch_module().float32)
    for rank in range(1, num_ranks):
        total += _values(tensor, start, rank)
    return total


def _equal(left: Any, right: Any) -> bool:
    torch = torch_module()
    return bool(torch.equal(left.to(torch.float32), right.to(torch.float32)))


def _all_reduce(number: int, ring: Ring, buffer: Buffer) -> Operation:
    distributed = torch_module().distributed
    data = buffer(number)
    return Operation(
        lambda: distributed.all_reduce(data, group=ring.group),
        _filled(data, ring.position),
        lambda: _equal(data, _sums(data, 0, ring.size).to(data.dtype)),
        data.zero_,
    )


def _all_gather(number: int, ring: Ring, buffer: Buffer) -> Operation:
    distributed = torch_module().distributed
    mine, whole = buffer(number // ring.size), buffer(number)
    gather = getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor
    return Operation(
        lambda: gather(whole, mine, group=ring.group),
        _filled(mine, ring.position),
        lambda: all(_equal(part, _values(part, 0, rank)) for rank, part in enumerate(whole.chunk(ring.size))),
        mine.zero_,
    )


def _reduce_scatter(number: int, ring: Ring, buffer: Buffer) -> Operation:
    distributed = torch_module().distributed
    whole, mine = buffer(number), buffer(number // ring.size)
    scatter = getattr(distributed, "reduce_scatter_single", None) or distributed.reduce_scatter_tensor
    return Operation(
        lambda: scatter(mine, whole, group=ring.group),
        _filled(whole, ring.position),
        lambda: _equal(mine, _sums(mine, ring.position * len(mine), ring.size).to(mine.dtype)),
        whole.zero_,
    )


def _all_to_all(number: int, ring: Ring, buffer: Buffer) -> Operation:
    distributed = torch_module().distributed
    sent, received = buffer(number), buffer(number)
    part = number // ring.size

    def is_right() -> bool:
        parts = enumerate(received.chunk(ring.size))
        return all(_equal(found, _values(found, ring.position * part, rank)) for rank, found in parts)

    return Operation(
        lambda: distributed.all_to_all_single(received, sent, group=ring.group),
        _filled(sent, ring.position),
        is_right,
        sent.zero_,
    )


def _send_recv(number: int, ring: Ring, buffer: Buffer) -> Operation:
    """Each rank sends to the next one and receives from the one before."""
    distributed = torch_module().distributed
    sent, received = buffer(number), buffer(number)
    before = (ring.position - 1) % ring.size

    def run() -> None:
        both = [
            distributed.P2POp(distributed.isend, sent, ring.neighbour(1), ring.group),
            distributed.P2POp(distributed.irecv, received, ring.neighbour(-1), ring.group),
        ]
        for work in distributed.batch_isend_irecv(both):
            work.wait()

    return Operation(
        run, _filled(sent, ring.position), lambda: _equal(received, _values(received, 0, before)), sent.zero_
    )


_BY_NAME: dict[str, Callable[[int, Ring, Buffer], Operation]] = {
    ALL_REDUCE: _all_reduce,
    ALL_GATHER: _all_gather,
    REDUCE_SCATTER: _reduce_scatter,
    ALL_TO_ALL: _all_to_all,
    SEND_RECV: _send_recv,
}


def sizes(least: int, most: int, factor: float) -> list[int]:
    """Return sizes from the least to the most, each by a factor larger. [B]

    Examples
    --------
    >>> sizes(512, 4096, 2)
    [512, 1024, 2048, 4096]
    """
    count = math.floor(math.log(most / least, factor) + 1e-9) + 1
    return [round(least * factor**power) for power in range(count)]
