"""Which kernels are measured: those that layers of real models need, and shapes beside them that no model has.

A point of the grid is a `KernelRow` in which only what is asked for is filled in. Points come in a random order, so
that what drifts (temperature, other users of the machine) does not look like an effect of size.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from walltime.measure.devices import DeviceKind
from walltime.measure.kernel_rows import (
    ADD,
    ATTENTION_BACKWARD,
    ATTENTION_FORWARD,
    COPY,
    GEMM,
    LAUNCH,
    RMSNORM,
    KernelRow,
)
from walltime.workload.catalog import transformer

KINDS = ("gemm", "attention", "memory", "launch")
"""What can be measured, as ``--what`` names it."""
WORD_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4, "fp8": 1}
_MEMORY_PASSES = {COPY: 2, ADD: 3, RMSNORM: 2}
"""Numbers read and written for each one of the result."""
_FP8_MULTIPLE = 16
"""Eight-bit products need sizes that are multiples of this."""
_MEMORY_WIDTH = 1024  # numbers in a row of what memory-bound kernels work on: enough for a normalisation


class Layer(NamedTuple):
    """What one accelerator holds of a layer: widths of model, queries, keys and MLP, and words that it tells apart."""

    d_model: int
    query: int
    key: int
    d_ff: int
    vocab: int


class Heads(NamedTuple):
    """Attention of one accelerator: query heads, key heads, widths of queries and keys, and of values."""

    query: int
    key: int
    qk_dim: int
    v_dim: int


@dataclass(frozen=True)
class Sizes:
    """The sizes of a grid.

    Attributes
    ----------
    layers
        Whose products are measured.
    tokens
        Rows of activations.
    gradient_tokens
        Rows of activations of which a weight's gradient is summed.
    others
        Products that are no model's: (m, n, k).
    heads, sequences
        Of attention: shapes, and (batch, length).
    memory_bytes
        That a memory-bound kernel reads and writes. [B]
    most_flop
        Of one kernel: larger ones are left out.
    """

    layers: Sequence[Layer]
    tokens: Sequence[int]
    gradient_tokens: Sequence[int]
    others: Sequence[tuple[int, int, int]]
    heads: Sequence[Heads]
    sequences: Sequence[tuple[int, int]]
    memory_bytes: Sequence[int]
    most_flop: float = math.inf


def _layer(name: str, tp: int) -> Layer:
    """Return one accelerator's share of a catalog model's layer."""
    model = transformer(name)
    head = model.head_dim
    kv = max(1, model.num_kv_heads // tp)
    return Layer(model.d_model, model.num_heads // tp * head, kv * head, model.d_ff // tp, model.vocab_size // tp)


def _cubes(sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    return [(size, size, size) for size in sizes]


def _cpu_layer(d_model: int, vocab: int) -> Layer:
    """Return a layer in the proportions of Llama: an MLP of 8/3 of the width in steps of 32, a key for 4 queries."""
    return Layer(d_model, d_model, d_model // 4, -(-8 * d_model // 3 // 32) * 32, vocab)


def sizes(kind: DeviceKind, *, quick: bool = False) -> Sizes:
    """Return the sizes that suit a device: real models on a GPU, models that train in seconds on a CPU.

    Parameters
    ----------
    kind
        Of the device.
    quick
        A few of each only.
    """
    if kind == "cuda":
        return _quick_gpu() if quick else _gpu()
    return _quick_cpu() if quick else _cpu()


def _gpu() -> Sizes:
    return Sizes(
        layers=[
            _layer("llama-3.2-1b", 1),
            *(_layer("llama-3.1-8b", tp) for tp in (1, 2, 4)),
            *(_layer("llama-3.1-70b", tp) for tp in (1, 4, 8)),
            _layer("qwen2.5-7b", 1),
        ],
        tokens=(256, 1024, 4096, 16384),
        gradient_tokens=(2048, 8192),
        others=[*_cubes([512, 1024, 2048, 4096, 8192, 16384, 1000, 1536, 3000, 4099, 5120, 7168]), (8192, 1000, 5000)],
        heads=[Heads(16, 16, 64, 64), Heads(32, 8, 128, 128), Heads(8, 1, 128, 128), Heads(16, 16, 192, 128)],
        sequences=((8, 512), (4, 2048), (1, 4096), (2, 8192), (1, 32768)),
        memory_bytes=[2**power for power in range(16, 33, 2)],
    )


def _quick_gpu() -> Sizes:
    return replace(
        _gpu(),
        layers=[_layer("llama-3.1-8b", tp) for tp in (1, 4)],
        tokens=(1024, 8192),
        gradient_tokens=(8192,),
        others=_cubes([1024, 4096, 8192, 4099]),
        heads=[Heads(32, 8, 128, 128)],
        sequences=((4, 2048), (1, 8192)),
        memory_bytes=[2**power for power in (20, 26, 30)],
    )


_MOST_CPU_FLOP = 4e10
"""A core does some 10^11 FLOP in a second: what takes longer than a good part of one says nothing new."""
_CPU_WIDTHS = {64: 1024, 128: 1024, 256: 4096, 512: 8192, 1024: 32000}
"""Widths of models, and words that models of such a width may tell apart."""


def _cpu() -> Sizes:
    return Sizes(
        layers=[_cpu_layer(d_model, vocab) for d_model, vocab in _CPU_WIDTHS.items()],
        tokens=(32, 128, 512, 2048),
        gradient_tokens=(128, 1024),
        others=[*_cubes([64, 128, 256, 512, 1024, 2048, 100, 333, 1000]), (1000, 300, 500)],
        heads=[Heads(4, 4, 32, 32), Heads(8, 2, 64, 64), Heads(16, 4, 128, 128)],
        sequences=((8, 64), (4, 256), (1, 512), (2, 1024)),
        memory_bytes=[2**power for power in range(14, 29, 2)],
        most_flop=_MOST_CPU_FLOP,
    )


def _quick_cpu() -> Sizes:
    return replace(
        _cpu(),
        layers=[_cpu_layer(128, 1024), _cpu_layer(512, 8192)],
        tokens=(128, 1024),
        gradient_tokens=(512,),
        others=_cubes([256, 1024, 333]),
        heads=[Heads(8, 2, 64, 64)],
        sequences=((4, 256), (1, 512)),
        memory_bytes=[2**power for power in (14, 20, 26)],
    )


def points(
    chosen: Sizes, kinds: Sequence[str], precisions: Sequence[str], max_size: int | None = None, seed: int = 0
) -> list[KernelRow]:
    """Return the points of a grid in a random order, none twice.

    Parameters
    ----------
    chosen
        The sizes.
    kinds
        Of `KINDS`.
    precisions
        Number formats.
    max_size
        The largest m, n, k or length of a sequence; no limit unless given.
    seed
        Of the order.
    """
    found = dict.fromkeys(
        point
        for kind in kinds
        for dtype in precisions
        for point in _BY_KIND[kind](chosen, dtype)
        if _fits(point, chosen, max_size)
    )
    order = list(found)
    random.Random(seed).shuffle(order)
    return order


def _fits(point: KernelRow, chosen: Sizes, max_size: int | None) -> bool:
    if (flop(point) or 0) > chosen.most_flop:
        return False
    dimensions = (point.m, point.n, point.k, point.seq_len)
    return max_size is None or point.num_bytes is not None or all(size <= max_size for size in dimensions if size)


def _gemms(chosen: Sizes, dtype: str) -> Iterator[KernelRow]:
    shapes = [(tokens, n, k) for layer in chosen.layers for tokens in chosen.tokens for n, k in _weights(layer)]
    for m, n, k in dict.fromkeys([*shapes, *chosen.others]):
        if dtype != "fp8" or not (m % _FP8_MULTIPLE or n % _FP8_MULTIPLE or k % _FP8_MULTIPLE):
            yield KernelRow(op=GEMM, m=m, n=n, k=k, dtype=dtype, layout="TN")
    if dtype != "fp8":
        for layer in chosen.layers:
            for tokens in chosen.gradient_tokens:
                for n, k in _weights(layer):
                    yield KernelRow(op=GEMM, m=n, n=k, k=tokens, dtype=dtype, layout="NT")


def _weights(layer: Layer) -> list[tuple[int, int]]:
    """Return columns and rows of each weight: queries with keys and values, output, MLP up and down, head."""
    return [
        (layer.query + 2 * layer.key, layer.d_model),
        (layer.d_model, layer.query),
        (layer.d_ff, layer.d_model),
        (layer.d_model, layer.d_ff),
        (layer.vocab, layer.d_model),
    ]


def _attentions(chosen: Sizes, dtype: str) -> Iterator[KernelRow]:
    if dtype == "fp8":
        return
    for op in (ATTENTION_FORWARD, ATTENTION_BACKWARD):
        for heads in chosen.heads:
            for batch, length in chosen.sequences:
                for causal in (True, False) if length == chosen.sequences[1][1] else (True,):
                    yield KernelRow(
                        op=op,
                        dtype=dtype,
                        batch=batch,
                        seq_len=length,
                        n_heads=heads.query,
                        n_kv_heads=heads.key,
                        qk_head_dim=heads.qk_dim,
                        v_head_dim=heads.v_dim,
                        causal=causal,
                    )


def _memory(chosen: Sizes, dtype: str) -> Iterator[KernelRow]:
    if dtype == "fp8":
        return
    for op, passes in _MEMORY_PASSES.items():
        for target in chosen.memory_bytes:
            rows = max(1, round(target / (passes * _MEMORY_WIDTH * WORD_BYTES[dtype])))
            num_bytes = rows * passes * _MEMORY_WIDTH * WORD_BYTES[dtype]
            yield KernelRow(op=op, m=rows, n=_MEMORY_WIDTH, dtype=dtype, num_bytes=num_bytes)


def _launches(_chosen: Sizes, _dtype: str) -> Iterator[KernelRow]:
    yield KernelRow(op=LAUNCH, dtype="fp32")


_BY_KIND: dict[str, Callable[[Sizes, str], Iterator[KernelRow]]] = {
    "gemm": _gemms,
    "attention": _attentions,
    "memory": _memory,
    "launch": _launches,
}


def flop(point: KernelRow) -> float | None:
    """FLOP of a product or of attention, of which a causal mask leaves half; None of what hardly computes.

    Of attention forward 2 a S^2 (dqk + dv), backward, where the scores are computed again, 2 a S^2 (3 dqk + 2 dv), for
    a heads of all sequences: as `walltime.physics.kernels.attention_time_s` counts them.
    """
    if point.m and point.n and point.k:
        return 2.0 * point.m * point.n * point.k
    if point.batch and point.n_heads and point.seq_len and point.qk_head_dim and point.v_head_dim:
        qk, v = (1, 1) if point.op == ATTENTION_FORWARD else (3, 2)
        scores = point.batch * point.n_heads * float(point.seq_len) ** 2
        return 2 * scores * (qk * point.qk_head_dim + v * point.v_head_dim) * (0.5 if point.causal else 1.0)
    return None
