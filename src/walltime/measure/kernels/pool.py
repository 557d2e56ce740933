"""Memory that kernels take their data from: more than the cache holds, so that each launch finds other, cold data."""

import math
from collections.abc import Sequence
from typing import Any

from walltime.measure.devices import Device, processor
from walltime.measure.requirements import torch_module

_CACHES = 2
"""A pool has as many times the cache: what was used longest ago is surely gone."""
_FEWEST_COPIES = 2
"""Of data that are not larger than a pool: of one, a part would still be in the cache."""
_MOST_CPU_BYTES = 2**28
"""On a CPU a pool has at most this: larger caches are shared by more cores than a process has, and its share is not
known; all the caches that a core has to itself are left behind far earlier."""
_USUAL_GPU_CACHE_BYTES = 2**27
"""Where the driver does not say: no accelerator of the catalog has a larger cache in front of its memory."""
_MOST_COPIES = 1024
"""Launches after which data come round again, at most: the smallest kernels see data that a training step might well
find in a cache too."""
_BLOCK = 2**20
"""Random numbers that are drawn, and repeated over a buffer: drawing them all takes longer than most kernels."""
_ALIGNMENT = 512
"""Numbers to which data are aligned, as PyTorch's own allocator does at least."""
TORCH_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp8": "float8_e4m3fn"}


def torch_dtype(precision: str) -> Any:
    """Return PyTorch's name for a number format; MI300 has another eight-bit one than everybody else."""
    torch = torch_module()
    if precision == "fp8" and torch.version.hip and "gfx94" in torch.cuda.get_device_properties(0).gcnArchName:
        return torch.float8_e4m3fnuz
    return getattr(torch, TORCH_DTYPES[precision])


def pool_bytes(device: Device) -> int:
    """Return how many bytes kernels of a device take their data from in turn. [B]"""
    if device.kind == "cpu":
        return min(_MOST_CPU_BYTES, _CACHES * (processor().cache_bytes or _MOST_CPU_BYTES))
    known = torch_module().cuda.get_device_properties(device.index)
    return _CACHES * (getattr(known, "L2_cache_size", 0) or _USUAL_GPU_CACHE_BYTES)


class Pool:
    """Random numbers of each format, cut into tensors.

    Parameters
    ----------
    device
        Where they are.
    seed
        Of the numbers. They are normal, since a GPU that multiplies zeros draws less and runs faster.
    """

    def __init__(self, device: Device, seed: int) -> None:
        self._device = device
        self._bytes = pool_bytes(device)
        self._seed = seed
        self._buffers: dict[str, Any] = {}

    def copies(self, shapes: Sequence[tuple[int, ...]], dtype: str) -> list[list[Any]]:
        """Return tensors of these shapes again and again, until the pool is used up.

        At least twice, but once where they are larger than the pool: such data drive themselves out of the cache.
        """
        sizes = [-(-math.prod(shape) // _ALIGNMENT) * _ALIGNMENT for shape in shapes]
        is_larger = sum(sizes) > self._bytes // torch_dtype(dtype).itemsize
        buffer = self._buffer(dtype, sum(sizes) * (1 if is_larger else _FEWEST_COPIES))
        number = min(_MOST_COPIES, len(buffer) // sum(sizes))
        return [self._cut(buffer, copy * sum(sizes), sizes, shapes) for copy in range(number)]

    @staticmethod
    def _cut(buffer: Any, start: int, sizes: Sequence[int], shapes: Sequence[tuple[int, ...]]) -> list[Any]:
        tensors = []
        for size, shape in zip(sizes, shapes, strict=True):
            tensors.append(buffer[start : start + math.prod(shape)].view(shape))
            start += size
        return tensors

    def _buffer(self, dtype: str, least: int) -> Any:
        """Return the numbers of a format, at least so many; a smaller buffer makes room for a larger one."""
        buffer = self._buffers.get(dtype)
        if buffer is None or len(buffer) < least:
            self._buffers.pop(dtype, None)
            del buffer
            self._buffers[dtype] = buffer = self._numbers(dtype, least)
        return buffer

    def _numbers(self, dtype: str, least: int) -> Any:
        torch = torch_module()
        wanted = torch_dtype(dtype)
        number = max(least, self._bytes // wanted.itemsize)
        name = self._device.torch_name
        generator = torch.Generator(device=name).manual_seed(self._seed)
        made = torch.bfloat16 if wanted.itemsize == 1 else wanted
        block = torch.randn(min(number, _BLOCK), dtype=made, device=name, generator=generator).to(wanted)
        return block.repeat(-(-number // len(block)))[:number]

    def clear(self) -> None:
        """Give the memory back, as much as the device's allocator does."""
        self._buffers.clear()
        if self._device.kind == "cuda":
            torch_module().cuda.empty_cache()
