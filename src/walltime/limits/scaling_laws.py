"""How depth, sparsity, batch and data grow with a model: named, replaceable functions.

Every law takes plain numbers and returns a real number; rounding to numbers that divide well is `round_to_grid`.
"""

import bisect
import functools
import math
from collections.abc import Callable

from walltime.catalog import parameter_set

DepthLaw = Callable[[float, float], float]
SparsityLaw = Callable[[float, float], float]
BatchLaw = Callable[[float, float], float]
DataLaw = Callable[[float], float]


@functools.cache
def constants(table: str) -> dict[str, float]:
    """Return one table of constants of the parameter set Erdil2024."""
    return parameter_set("Erdil2024").study().values(table)


@functools.cache
def _rounding_grid() -> list[int]:
    grid = constants("rounding_grid")
    odd = range(1, int(grid["largest_odd"]) + 1, 2)
    return sorted(k * 2**i for k in odd for i in range(int(grid["largest_exponent"]) + 1))


def round_to_grid(value: float) -> int:
    """Return the nearest number of the form odd x 2^i, odd up to 9, so that it divides well.

    A tie goes to the smaller, and a value beyond either end to that end.

    References
    ----------
    Erdil & Schneider-Joseph (2024), published program; docs: The model, and how it grows.
    """
    grid = _rounding_grid()
    i = bisect.bisect_left(grid, value)
    if i == 0:
        return grid[0]
    if i == len(grid):
        return grid[-1]
    below, above = grid[i - 1], grid[i]
    return below if value - below <= above - value else above


def hoffmann_depth(d_model: float, d_ff: float) -> float:
    """Layers of a model of this width: a fit to the models of Hoffmann et al. (2022)."""
    law = constants("depth_law")
    return law["coefficient"] * (d_model * d_ff) ** law["exponent"]


def dense(d_model: float, d_ff: float) -> float:
    """One expert: no sparsity."""
    return 1.0


def square_root_sparsity(d_model: float, d_ff: float) -> float:
    """Experts grow with the square root of a layer's size, from 8 at the width of a GPT-4-like model."""
    law, run = constants("sparsity_law"), constants("run")
    layer_size = d_model * d_ff / (run["ff_ratio"] * law["d_model"] ** 2)
    return law["num_experts"] * layer_size ** law["exponent"]


def default_batch(training_flop: float, num_experts: float) -> float:
    """Batch in tokens: 4 Mi at 3e23 FLOP, growing with its sixth root and with the square root of sparsity."""
    law = constants("batch_default")
    growth = (training_flop / law["training_flop"]) ** (1 / law["exponent_denominator"])
    return law["tokens"] * math.sqrt(num_experts) * growth


def deepseek_batch(training_flop: float, num_experts: float) -> float:
    """Batch in tokens by the law of Bi et al. (2024), times the square root of sparsity."""
    law = constants("batch_deepseek")
    return law["tokens"] * math.sqrt(num_experts) * training_flop ** law["exponent"]


def constant_batch(training_flop: float, num_experts: float) -> float:
    """Batch in tokens that does not grow."""
    return constants("batch_none")["tokens"]


def tokens_per_parameter(num_parameters: float) -> float:
    """Training tokens: 20 per parameter, all experts counted."""
    return constants("run")["tokens_per_parameter"] * num_parameters


DEPTH_LAWS: dict[str, DepthLaw] = {"hoffmann": hoffmann_depth}
SPARSITY_LAWS: dict[str, SparsityLaw] = {"dense": dense, "sparse": square_root_sparsity}
BATCH_LAWS: dict[str, BatchLaw] = {
    "default": default_batch,
    "deepseek": deepseek_batch,
    "none": constant_batch,
}
DATA_LAWS: dict[str, DataLaw] = {"chinchilla": tokens_per_parameter}
