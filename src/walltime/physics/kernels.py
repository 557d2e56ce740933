r"""Time of the two kernels that do nearly all FLOP of a training step: matrix multiplication and attention.

Each is a roofline with a fitted efficiency. The numbers are fitted per accelerator and precision on measured kernels
(`walltime.calibrate.matmul`) and read from the catalog. They describe a kernel by itself on an otherwise idle
accelerator; what a long run loses to heat, power caps and contention is not in them.
"""

from dataclasses import dataclass

import numpy as np

from walltime.arrays import Numeric


@dataclass(frozen=True)
class MatmulKernel:
    """One accelerator and precision, as the matmul model sees it. All numbers but the tiles and cores are fitted.

    Attributes
    ----------
    max_efficiency
        Share of the peak that an endless product of full waves reaches.
    max_hbm_fraction
        Share of the HBM bandwidth that a memory-bound product reaches.
    half_k
        Length of the summed dimension at which a tile spends half its time on filling and draining.
    tail_fraction
        Share of the idle time of the last wave that is really lost.
    tail_k
        Longest summed dimension that a half-empty wave waits for; longer ones are split over the idle cores.
    tile_m, tile_n
        Tile of the result that one core computes.
    tile_step
        Narrowest tile: columns are padded to multiples of this, and narrower tiles are as efficient.
    small_tile_m, small_tile_n, small_tile_cost
        A second, smaller tile that is used where it is faster, and the time of a wave of small tiles over that of a
        wave of large ones; a cost of 1 or more leaves it out.
    num_cores
        Tiles computed at a time: streaming multiprocessors, compute units.
    latency_s
        From launch to first result. [s]
    grouped_slowdown, grouped_gradient_slowdown
        Time of a grouped matmul, of experts, over that of the same tiles in one matmul; and of their weight gradients.
    """

    max_efficiency: float
    max_hbm_fraction: float
    half_k: float
    tail_fraction: float
    tail_k: float
    tile_m: int
    tile_n: int
    tile_step: int
    small_tile_m: int
    small_tile_n: int
    small_tile_cost: float
    num_cores: int
    latency_s: float
    grouped_slowdown: float = 1
    grouped_gradient_slowdown: float = 1


@dataclass(frozen=True)
class AttentionPass:
    """The forward or the backward pass of a fused attention kernel on one accelerator; all numbers are fitted.

    Attributes
    ----------
    max_efficiency
        Share of the peak at long sequences, many heads and full head width.
    half_len
        Keys at which the time without a mask is twice what the FLOP take; it counts twice under a causal mask.
    small_head_dim
        What narrow heads cost: time grows by this over the head width, beyond what it is at full width.
    wide_head_slowdown
        Time over the expected for heads wider than full (192 in latent attention).
    idle_waves
        Waves of blocks of queries that start and end with idle cores.
    """

    max_efficiency: float
    half_len: float
    small_head_dim: float
    wide_head_slowdown: float
    idle_waves: float


@dataclass(frozen=True)
class AttentionKernel:
    """A fused attention kernel (FlashAttention 2 to 4, cuDNN, AITER) on one accelerator and precision.

    Attributes
    ----------
    forward, backward
        Its two passes.
    full_head_dim
        Head width at which the efficiencies hold.
    block_len
        Queries of one block.
    num_cores
        Blocks computed at a time.
    latency_s
        From launch to first result. [s]
    """

    forward: AttentionPass
    backward: AttentionPass
    full_head_dim: int
    block_len: int
    num_cores: int
    latency_s: float


def _waves_k(waves: Numeric, body_k: Numeric, tail_k: Numeric) -> Numeric:
    """Waves times summed dimension, the last wave counted in full as far as its idle cores are lost."""
    return waves * body_k + np.ceil(waves) * tail_k


def _compute_s(
    m: Numeric, n: Numeric, k: Numeric, kernel: MatmulKernel, peak_flop_per_s: float, num_groups: Numeric
) -> Numeric:
    """Time of the tensor cores [s]: waves of tiles, the better of two tile shapes."""
    tail_k = np.minimum(k, kernel.tail_k) * kernel.tail_fraction
    body_k = k - tail_k + kernel.half_k
    steps = np.ceil(n / kernel.tile_step) * (num_groups * (kernel.tile_step / kernel.num_cores))
    depth = _waves_k(np.ceil(m / kernel.tile_m) * (steps / kernel.tile_n), body_k, tail_k)
    if kernel.small_tile_cost < 1:
        small = np.ceil(m / kernel.small_tile_m) * (steps / kernel.small_tile_n)
        depth = np.minimum(depth, _waves_k(small, body_k, tail_k) * kernel.small_tile_cost)
    wave_flop = 2 * kernel.tile_m * kernel.tile_n * kernel.num_cores
    return depth * (wave_flop / (peak_flop_per_s * kernel.max_efficiency))


def matmul_time_s(
    m: Numeric,
    n: Numeric,
    k: Numeric,
    kernel: MatmulKernel,
    peak_flop_per_s: float,
    hbm_bytes_per_s: float,
    bytes_per_element_in: float = 2,
    bytes_per_element_out: Numeric = 2,
    *,
    num_groups: Numeric = 1,
) -> Numeric:
    r"""Time of an m x k by k x n product [s], or of ``num_groups`` of that shape in one batched kernel.

    .. math::
        t = \max\left(\frac{2\,T_m T_n C}{e P}\, d,\;
            \frac{g\,(b_i k (m + n) + b_o m n)}{f B}\right) + t_0 \quad (1)

        d = \min_{\text{tiles}} \left[ w (k - \tau + k_0) + \lceil w \rceil \tau \right], \quad
        w = \frac{g}{C} \left\lceil \frac{m}{T_m} \right\rceil
            \left\lceil \frac{n}{T_s} \right\rceil \frac{T_s}{T_n}, \quad
        \tau = s \min(k, k_s) \quad (2)

    with w waves of tiles on C cores, k0 the half length, s the lost share of the last wave and ks the longest
    summed dimension that it waits for. Never faster for a larger m, n or k, nor slower for a larger peak or bandwidth.

    Parameters
    ----------
    m, n, k : (plans,)
        Rows and columns of the result, and the dimension summed over. In a layer m is the tokens of the forward pass
        and of the input gradient; the weight gradient sums over the tokens (k).
    kernel
        Fitted numbers of the accelerator at this precision.
    peak_flop_per_s, hbm_bytes_per_s
        Datasheet rates, dense. [FLOP/s], [B/s]
    bytes_per_element_in
        Bytes of one number of the factors. [B]
    bytes_per_element_out
        Bytes moved for one number of the result: 2 to write bf16, 8 to add to an fp32 gradient. [B]
    num_groups : (plans,)
        Products that share the kernel, such as the heads of a batch.

    Approximations
    --------------
    Each factor is read once from HBM; the layout of the factors (transposed or not) is not seen; the tiles and splits
    that a library picks from are reduced to two tiles. The errors against the rows that the numbers were fitted on
    stand beside the numbers; single shapes, where a library picks another kernel, are off by up to 30 %.
    Casting to eight bits is a kernel of its own, not counted here.
    """
    compute_s = _compute_s(m, n, k, kernel, peak_flop_per_s, num_groups)
    element_s = num_groups / (kernel.max_hbm_fraction * hbm_bytes_per_s)
    hbm_s = ((m + n) * (k * bytes_per_element_in) + m * n * bytes_per_element_out) * element_s
    return np.maximum(compute_s, hbm_s) + kernel.latency_s


def grouped_matmul_time_s(
    num_groups: Numeric,
    m: Numeric,
    n: Numeric,
    k: Numeric,
    kernel: MatmulKernel,
    peak_flop_per_s: float,
    hbm_bytes_per_s: float,
    bytes_per_element_in: float = 2,
    bytes_per_element_out: Numeric = 2,
    *,
    weight_gradient: bool = False,
) -> Numeric:
    """Time of the matmuls of all local experts in one grouped kernel [s].

    Parameters
    ----------
    num_groups : (plans,)
        Experts on this accelerator.
    m, n, k : (plans,)
        Product of one expert; forward, m is the mean tokens of an expert. The weight gradient sums over them (k).
    kernel, peak_flop_per_s, hbm_bytes_per_s, bytes_per_element_in, bytes_per_element_out
        As in `matmul_time_s`.
    weight_gradient
        Whether the product is summed over the tokens of an expert.

    Approximations
    --------------
    Experts have equally many tokens; imbalance is the caller's, in m. The slowdown against one large matmul is one
    number for forward pass and input gradient and one for the weight gradient; below some 1000 tokens an expert,
    shapes differ from it by up to 40 %.

    References
    ----------
    Slowdowns: :cite:t:`simumax2026`, measured grouped matmuls of a B200 and an A100.
    """
    together_s = matmul_time_s(
        m,
        n,
        k,
        kernel,
        peak_flop_per_s,
        hbm_bytes_per_s,
        bytes_per_element_in,
        bytes_per_element_out,
        num_groups=num_groups,
    )
    return together_s * (kernel.grouped_gradient_slowdown if weight_gradient else kernel.grouped_slowdown)


def attention_time_s(
    num_heads: Numeric,
    q_len: Numeric,
    kv_len: Numeric,
    kernel: AttentionKernel,
    peak_flop_per_s: float,
    qk_head_dim: Numeric,
    v_head_dim: Numeric,
    *,
    causal: bool = True,
    backward: bool = False,
) -> Numeric:
    r"""Time of one pass of fused attention over all heads of all sequences [s].

    .. math::
        t = \frac{F}{e P} \left(1 + \frac{(1 + c)\,h + c\,b}{S_{kv}}\right)
            \left(1 + \frac{w\,C\,b}{a S_q}\right)
            \left(1 + d_0 \left[\frac{1}{d} - \frac{1}{d_1}\right]_+\right) + t_0 \quad (1)

    with F the FLOP of the pass, half of them under a causal mask (c = 1): 2 a Sq Skv (dqk + dv) forward, and
    2 a Sq Skv (3 dqk + 2 dv) backward, where the scores are computed again. b is the block of queries, h the half
    length, w the idle waves on C cores, d the mean head width and d1 the full one.

    Parameters
    ----------
    num_heads : (plans,)
        Query heads on this accelerator, times sequences.
    q_len, kv_len : (plans,)
        Queries and keys of a sequence. For a sliding window, the mean keys of a query, without ``causal``.
    kernel
        Fitted numbers of the kernel on this accelerator.
    peak_flop_per_s
        Datasheet rate, dense. [FLOP/s]
    qk_head_dim, v_head_dim
        Width of a head in queries and keys, and in values.
    causal
        Whether a query sees only the keys up to itself; then half the FLOP are counted, and the blocks on the
        diagonal in full.
    backward
        The backward pass instead of the forward.

    Approximations
    --------------
    Grouped queries cost as much as multi-head attention (measured: within 3 %). Bound by memory at no length that is
    trained on. No deterministic backward pass, which takes 10 to 90 % longer.

    References
    ----------
    FLOP: :cite:t:`dao2023flash2`, sec. 4.1. Numbers: :cite:t:`shah2024flash3`, fig. 5 and 6;
    :cite:t:`cudnnfrontend2026attention`; :cite:t:`aiter2026attention`; :cite:t:`simumax2026`.
    """
    part = kernel.backward if backward else kernel.forward
    score_flop = 2 * (3 * qk_head_dim + 2 * v_head_dim if backward else qk_head_dim + v_head_dim)
    head_dim = (qk_head_dim + v_head_dim) / 2
    slowdown = 1 + part.small_head_dim * np.maximum(1 / head_dim - 1 / kernel.full_head_dim, 0)
    slowdown = slowdown * np.where(np.greater(qk_head_dim, kernel.full_head_dim), part.wide_head_slowdown, 1)
    extra_keys = 2 * part.half_len + kernel.block_len if causal else part.half_len
    idle_queries = part.idle_waves * kernel.num_cores * kernel.block_len
    score_s = score_flop * slowdown / (peak_flop_per_s * part.max_efficiency)
    if causal:
        score_s = score_s / 2
    return (num_heads * q_len + idle_queries) * (kv_len + extra_keys) * score_s + kernel.latency_s


def unfused_attention_time_s(
    num_heads: Numeric,
    q_len: Numeric,
    kv_len: Numeric,
    kernel: MatmulKernel,
    peak_flop_per_s: float,
    hbm_bytes_per_s: float,
    qk_head_dim: int,
    v_head_dim: int,
    score_bytes: float,
    *,
    backward: bool = False,
    num_passes: int = 2,
) -> Numeric:
    """Time of attention that writes its scores to memory [s]: batched matmuls, and passes over the scores between them.

    Parameters
    ----------
    num_heads : (plans,)
        Query heads on this accelerator, times sequences.
    q_len, kv_len : (plans,)
        Queries and keys of a sequence; a causal mask saves nothing.
    kernel, peak_flop_per_s, hbm_bytes_per_s
        As in `matmul_time_s`.
    qk_head_dim, v_head_dim
        Width of a head in queries and keys, and in values.
    score_bytes
        Bytes that scaling, mask, softmax and dropout read and write for one score, the matmuls excepted. [B]
    backward
        The backward pass, of four matmuls, instead of the forward, of two.
    num_passes
        Kernels that pass over the scores, for their latency.

    References
    ----------
    :cite:t:`korthikanti2022reducing`, sec. 4.1: scores, softmax and dropout mask of 2 + 2 + 1 bytes a score.
    """

    def product_s(m: Numeric, n: Numeric, k: Numeric) -> Numeric:
        return matmul_time_s(m, n, k, kernel, peak_flop_per_s, hbm_bytes_per_s, num_groups=num_heads)

    matmuls_s = product_s(q_len, kv_len, v_head_dim if backward else qk_head_dim)
    if backward:
        matmuls_s = matmuls_s + product_s(kv_len, v_head_dim, q_len) + product_s(kv_len, qk_head_dim, q_len)
        matmuls_s = matmuls_s + product_s(q_len, qk_head_dim, kv_len)
    else:
        matmuls_s = matmuls_s + product_s(q_len, v_head_dim, kv_len)
    score_s = score_bytes / (kernel.max_hbm_fraction * hbm_bytes_per_s)
    return matmuls_s + num_heads * q_len * kv_len * score_s + num_passes * kernel.latency_s
