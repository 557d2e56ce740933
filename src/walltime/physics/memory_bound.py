"""Kernels that move memory and hardly compute, counted in passes over a tensor of 16-bit elements."""

import functools
from typing import NamedTuple

from walltime.arrays import Numeric
from walltime.catalog.fitted import passes_record

_WORD = 2  # bytes of a bf16 or fp16 element


class Passes(NamedTuple):
    """How often a kernel, or a row of unfused ones, reads or writes each element, forward and backward."""

    forward: int
    backward: int


@functools.cache
def passes(name: str) -> Passes:
    """Return the passes of a kind of kernel, from ``data/fitted/passes.toml``."""
    count = passes_record().passes[name]
    return Passes(count.forward, count.backward)


def pass_bytes(num_elements: Numeric, num_passes: int) -> Numeric:
    """Bytes of ``num_passes`` passes over a tensor of 16-bit elements [B]."""
    return _WORD * num_passes * num_elements
