"""The launches that a point of the grid stands for: the same kernel on different data."""

from collections.abc import Callable
from functools import partial
from typing import Any

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
from walltime.measure.kernels.pool import Pool
from walltime.measure.requirements import torch_module
from walltime.measure.sampling import Call

_MOST_GRAPHS = 16
"""Forward passes that are kept for their backward passes, at most: each keeps its result too."""


def calls(point: KernelRow, pool: Pool) -> list[Call]:
    """Return launches of one kernel on different data, to be taken in turn."""
    return _BY_OP[point.op](point, pool)


def attention_backend(point: KernelRow, pool: Pool) -> str:
    """Return the name of the kernel that PyTorch chooses for an attention, empty if it does not say."""
    torch = torch_module()
    query, key, value, _ = _attention_inputs(point, pool)[0]
    try:
        choice = torch._fused_sdp_choice(query, key, value, is_causal=bool(point.causal), enable_gqa=_is_grouped(point))
        return str(torch.nn.attention.SDPBackend(choice).name).lower()
    except (AttributeError, RuntimeError, TypeError, ValueError):  # not a public function
        return ""


def _gemm(point: KernelRow, pool: Pool) -> list[Call]:
    torch = torch_module()
    m, n, k = (int(size or 0) for size in (point.m, point.n, point.k))
    if point.dtype == "fp8":
        return _scaled_gemm(m, n, k, pool)
    if point.layout == "NT":
        found = pool.copies([(k, m), (k, n), (m, n)], point.dtype)
        return [partial(torch.mm, left.t(), right, out=out) for left, right, out in found]
    found = pool.copies([(m, k), (n, k), (m, n)], point.dtype)
    return [partial(torch.mm, left, right.t(), out=out) for left, right, out in found]


def _scaled_gemm(m: int, n: int, k: int, pool: Pool) -> list[Call]:
    """Eight-bit factors with one scale each, and a 16-bit result.

    Sums are accumulated fast, in lower precision, as Transformer Engine and torchao do in the forward pass (and not
    in the backward pass, whose products are not measured in eight bits).
    """
    torch = torch_module()
    found = pool.copies([(m, k), (n, k)], "fp8")
    one = torch.ones((), dtype=torch.float32, device=found[0][0].device)
    product = partial(torch._scaled_mm, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True)
    return [partial(product, left, right.t()) for left, right in found]


def _is_grouped(point: KernelRow) -> bool:
    return point.n_heads != point.n_kv_heads


def _attention_inputs(point: KernelRow, pool: Pool) -> list[list[Any]]:
    """Queries, keys, values and a gradient of the result, each (batch, heads, length, width)."""
    batch, length, heads, kv_heads, qk, v = (
        int(size or 0)
        for size in (point.batch, point.seq_len, point.n_heads, point.n_kv_heads, point.qk_head_dim, point.v_head_dim)
    )
    shapes = [(batch, heads, length, qk), (batch, kv_heads, length, qk), (batch, kv_heads, length, v)]
    return pool.copies([*shapes, (batch, heads, length, v)], point.dtype)


def _attention(point: KernelRow) -> Callable[..., Any]:
    function = torch_module().nn.functional.scaled_dot_product_attention
    return partial(function, is_causal=bool(point.causal), enable_gqa=_is_grouped(point))


def _attention_forward(point: KernelRow, pool: Pool) -> list[Call]:
    attend = _attention(point)
    return [partial(attend, *inputs[:3]) for inputs in _attention_inputs(point, pool)]


def _attention_backward(point: KernelRow, pool: Pool) -> list[Call]:
    torch, attend = torch_module(), _attention(point)
    launches: list[Call] = []
    for *inputs, gradient in _attention_inputs(point, pool)[:_MOST_GRAPHS]:
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        result = attend(*leaves)
        launches.append(partial(torch.autograd.grad, result, leaves, gradient, retain_graph=True))
    return launches


def _copy(point: KernelRow, pool: Pool) -> list[Call]:
    return [partial(out.copy_, left) for left, out in _rows(point, pool, 2)]


def _add(point: KernelRow, pool: Pool) -> list[Call]:
    torch = torch_module()
    return [partial(torch.add, left, right, out=out) for left, right, out in _rows(point, pool, 3)]


def _rmsnorm(point: KernelRow, pool: Pool) -> list[Call]:
    norm = torch_module().nn.functional.rms_norm
    width = int(point.n or 0)
    weight = pool.copies([(width,)], point.dtype)[0][0].clone()
    return [partial(norm, left, (width,), weight, 1e-5) for (left,) in _rows(point, pool, 1)]


def _rows(point: KernelRow, pool: Pool, number: int) -> list[list[Any]]:
    return pool.copies([(int(point.m or 0), int(point.n or 0))] * number, point.dtype)


def _launch(point: KernelRow, pool: Pool) -> list[Call]:
    number = pool.copies([(1,)], point.dtype)[0][0]
    return [partial(number.add_, 0)]


_BY_OP: dict[str, Callable[[KernelRow, Pool], list[Call]]] = {
    GEMM: _gemm,
    ATTENTION_FORWARD: _attention_forward,
    ATTENTION_BACKWARD: _attention_backward,
    COPY: _copy,
    ADD: _add,
    RMSNORM: _rmsnorm,
    LAUNCH: _launch,
}
