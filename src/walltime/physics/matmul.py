r"""Time of a matrix multiplication from a hierarchy of memories (Erdil & Schneider-Joseph 2024).

Weights stay, activations stream. A weight matrix of d1 x d2 words is cut into tiles that fit a level's capacity;
the fewer tiles, the fewer times activations are read. The slowest of HBM, L2, shared memory and tensor cores sets
the time, plus a fixed latency.

Transposing a weight matrix swaps the rows and columns of its tiling, so the matmuls of a layer share one tiling;
`mlp_layer_matmul_time_s` uses that, and `matmul_time_s` is the same arithmetic for one matmul.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from walltime.arrays import Numeric


@dataclass(frozen=True)
class MatmulDevice:
    """One accelerator as the matmul model sees it. Capacities are the usable ones.

    Attributes
    ----------
    flop_per_s
        Sustained rate of the tensor cores. [FLOP/s]
    hbm_bytes_per_s, l2_bytes_per_s, shared_memory_bytes_per_s
        Bandwidths. [B/s]
    cache_bytes
        Capacity that holds tiles between HBM and L2. [B]
    sm_bytes, num_sms
        Capacity that holds tiles in one core [B], and cores.
    block_bytes, num_blocks
        Capacity of one register file [B], and register files on the accelerator.
    shares_tiles
        Whether cores read each other's tiles (distributed shared memory).
    tile
        Tensor cores work on dimensions padded to multiples of this.
    latency_s
        Fixed time of one matmul. [s]
    word_bytes
        Bytes of one number. [B]
    counts_all_matrices
        Whether weights stay resident only if all matrices of the accelerator fit together, or each by itself.
    """

    flop_per_s: float
    hbm_bytes_per_s: float
    l2_bytes_per_s: float
    shared_memory_bytes_per_s: float
    cache_bytes: float
    sm_bytes: float
    num_sms: float
    block_bytes: float
    num_blocks: float
    shares_tiles: bool
    tile: float
    latency_s: float
    word_bytes: float
    counts_all_matrices: bool = False


class Tiling(NamedTuple):
    """How often a weight matrix is cut: tiles along d1 and along d2; real numbers, not rounded."""

    rows: Numeric
    cols: Numeric


def tiling(d1: Numeric, d2: Numeric, word_bytes: float, capacity_bytes: float) -> Tiling:
    r"""Cut a d1 x d2 matrix into the fewest tiles that fit, as square as the matrix allows.

    .. math:: T = \lceil d_1 d_2 w / \text{capacity} \rceil, \quad
              \text{rows} = \min(\max(\sqrt{T d_1 / d_2},\, 1),\, T), \quad \text{cols} = T / \text{rows}

    Parameters
    ----------
    d1, d2 : (plans,)
        Sides of the weight matrix.
    word_bytes, capacity_bytes
        Bytes of a word and of the memory that a tile must fit. [B]

    References
    ----------
    The published program's ``tile`` in closed form (rows x cols = T); docs: Matmul.
    """
    num_tiles = np.ceil(d1 * d2 * (word_bytes / capacity_bytes))
    rows = np.minimum(np.maximum(np.sqrt(num_tiles * d1 / d2), 1), num_tiles)
    return Tiling(rows, num_tiles / rows)


class _Work(NamedTuple):
    """One weight matrix and its activations on one device: everything that the matmuls of a layer share."""

    left_bytes: Numeric
    right_bytes: Numeric
    cache_loads: Numeric
    sm_loads: Numeric
    block_loads: Numeric
    cache: Tiling
    sm: Tiling
    sm_copies: Tiling | None
    block: Tiling
    tensor_core_s: Numeric

    def transposed(self) -> "_Work":
        """The same weights used the other way round."""
        swap: dict[str, Any] = {name: _swapped(getattr(self, name)) for name in ("cache", "sm", "sm_copies", "block")}
        return self._replace(left_bytes=self.right_bytes, right_bytes=self.left_bytes, **swap)


def _swapped(tiles: Tiling | None) -> Tiling | None:
    return tiles and Tiling(tiles.cols, tiles.rows)


def _work(device: MatmulDevice, d1: Numeric, d2: Numeric, tokens: Numeric, num_matrices: Numeric) -> _Work:
    """Tile the weights at every level and find where they stay resident (no loads)."""
    word = device.word_bytes
    weight_bytes = d1 * d2 * word
    resident_bytes = 2 * weight_bytes * num_matrices
    sm_total = device.sm_bytes * device.num_sms
    tiles = device.tile
    padded = np.ceil(d1 / tiles) * np.ceil(d2 / tiles) * np.ceil(tokens / tiles)
    return _Work(
        left_bytes=d1 * tokens * word,
        right_bytes=d2 * tokens * word,
        cache_loads=weight_bytes * (resident_bytes > device.cache_bytes),
        sm_loads=weight_bytes * (resident_bytes > sm_total),
        block_loads=weight_bytes * (resident_bytes > device.block_bytes * device.num_blocks),
        cache=tiling(d1, d2, word, device.cache_bytes),
        sm=tiling(d1, d2, word, sm_total if device.shares_tiles else device.sm_bytes),
        sm_copies=tiling(d1, d2, word, device.sm_bytes) if device.shares_tiles else None,
        block=tiling(d1, d2, word, device.block_bytes),
        tensor_core_s=padded * (2 * tiles**3 / device.flop_per_s),
    )


def _plain_bytes(tiles: Tiling, loads: Numeric, work: _Work) -> Numeric:
    """Bytes through one level: weights, inputs once a row, outputs written and read again between columns."""
    return loads + tiles.rows * work.right_bytes + (2 * tiles.cols - 1) * work.left_bytes


def _plain_copies(tiles: Tiling, work: _Work) -> Numeric:
    """Bytes between cores that share a tile."""
    return (tiles.rows > 1) * tiles.rows * work.right_bytes + 2 * (tiles.cols - 1) * work.left_bytes


def _gradient_bytes(tiles: Tiling, loads: Numeric, work: _Work) -> Numeric:
    """Bytes through one level: the weight gradient loaded and stored, both activations read."""
    return 2 * loads + tiles.rows * work.right_bytes + tiles.cols * work.left_bytes


def _gradient_copies(tiles: Tiling, work: _Work) -> Numeric:
    """Bytes between cores that share a tile."""
    rows = (tiles.rows > 1) * tiles.rows * work.right_bytes
    return rows + (tiles.cols > 1) * tiles.cols * work.left_bytes


def _matmul_s(device: MatmulDevice, work: _Work, weight_gradient: bool) -> Numeric:
    """The slowest of HBM, L2, shared memory and tensor cores, plus the latency."""
    passing = _gradient_bytes if weight_gradient else _plain_bytes
    cache_bytes = passing(work.cache, work.cache_loads, work)
    sm_bytes = passing(work.sm, work.sm_loads, work)
    shared_bytes = sm_bytes + passing(work.block, work.block_loads, work)
    if work.sm_copies is not None:
        shared_bytes = shared_bytes + (_gradient_copies if weight_gradient else _plain_copies)(work.sm_copies, work)
    slowest = np.maximum(cache_bytes / device.hbm_bytes_per_s, (cache_bytes + sm_bytes) / device.l2_bytes_per_s)
    slowest = np.maximum(slowest, shared_bytes / device.shared_memory_bytes_per_s)
    return np.maximum(slowest, work.tensor_core_s) + device.latency_s


def mlp_layer_matmul_time_s(
    device: MatmulDevice, shard_ff: Numeric, shard_model: Numeric, tokens: Numeric, num_matrices: Numeric = 1
) -> Numeric:
    """Time of the six matmuls of one layer and microbatch [s].

    Forward and backward pass of two weight matrices, shard_ff x shard_model and its transpose: two plain matmuls
    of each orientation (activations and their gradients) and one weight-gradient matmul of each, which takes
    equally long either way round.

    Parameters
    ----------
    device
        The accelerator.
    shard_ff, shard_model : (plans,)
        Sides of the weight shard on one accelerator.
    tokens : (plans,)
        Tokens that one expert sees in one microbatch.
    num_matrices : (plans,)
        Weight matrices that share the accelerator; 1 as published (docs: not modelled, 4).

    References
    ----------
    Erdil & Schneider-Joseph (2024), published program; docs: Matmul.
    """
    work = _work(device, shard_ff, shard_model, tokens, num_matrices)
    plain_s = _matmul_s(device, work, False) + _matmul_s(device, work.transposed(), False)
    return 2 * (plain_s + _matmul_s(device, work, True))


def matmul_time_s(
    device: MatmulDevice,
    d1: Numeric,
    d2: Numeric,
    tokens: Numeric,
    *,
    weight_gradient: bool = False,
    num_matrices: Numeric = 1,
) -> Numeric:
    """Time of one matmul of a d1 x d2 weight matrix with ``tokens`` columns of activations [s].

    Parameters
    ----------
    device
        The accelerator.
    d1, d2, tokens : (plans,)
        The three dimensions.
    weight_gradient
        Whether the product is added into a weight gradient (load and store of d1 x d2 words) rather than an
        activation.
    num_matrices : (plans,)
        Weight matrices that share the accelerator; 1 as published (docs: not modelled, 4).

    References
    ----------
    Erdil & Schneider-Joseph (2024), published program; docs: Matmul.
    """
    return _matmul_s(device, _work(device, d1, d2, tokens, num_matrices), weight_gradient)
