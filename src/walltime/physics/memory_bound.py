"""Kernels that move memory and hardly compute, counted in passes over a tensor of 16-bit or 32-bit elements."""

import functools
from typing import NamedTuple

from walltime.arrays import Numeric
from walltime.catalog.fitted import passes_record

_WORD = 2  # bytes of a bf16 or fp16 element


class Passes(NamedTuple):
    """How often a kernel, or a row of unfused ones, reads or writes each element, forward and backward.

    Attributes
    ----------
    forward, backward
        In passes over 16-bit elements.
    in_32_bits
        The kernels work in 32 bits whatever their operands are in, so that wider operands do not make them slower.
    """

    forward: int
    backward: int
    in_32_bits: bool = False

    def element_bytes(self, word_bytes: int) -> int:
        """Bytes of an element in a pass, where tensors have elements of ``word_bytes``. [B]"""
        return _WORD if self.in_32_bits else word_bytes


@functools.cache
def passes(name: str) -> Passes:
    """Return the passes of a kind of kernel, from ``data/fitted/passes.toml``."""
    count = passes_record().passes[name]
    return Passes(count.forward, count.backward, count.in_32_bits)


def pass_bytes(num_elements: Numeric, num_passes: int, element_bytes: int = _WORD) -> Numeric:
    """Bytes of ``num_passes`` passes over a tensor, of 16-bit elements unless said [B]."""
    return element_bytes * num_passes * num_elements
