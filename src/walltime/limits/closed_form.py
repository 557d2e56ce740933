r"""The closed forms T_crit and T_limit, and how sensitive they are.

Work is counted in multiply-accumulates (MAC; FLOP = 2 MAC) and the unit is a node. With X MAC/s of a node at its
peak, W_net and W_mem words/s one way of its network and memory:

* a nanobatch needs n = X / W_mem tokens, below which weight-gradient accumulation waits for memory;
* a shard needs s = 4 X / (3 W_net), below which two-dimensional tensor parallelism waits for the network;
* a zero-bubble pipeline needs two nanobatches a stage, so a batch takes at least 12 L s^2 n / X.

.. math::

    T_\text{crit} = \left[\frac{1}{960}
        \left(\frac{b_0}{L_0} T_0^{-\alpha} \frac{X t}{s^2 n}\right)^2\right]^{1/(1-2\alpha)}
    \qquad
    T_\text{limit} = \left[\frac{3}{320}
        \left(\frac{b_0}{L_0} T_0^{-\alpha} \frac{t}{\tau}\right)^2\right]^{1/(1-2\alpha)}

where batch over depth grows as (b_0 / L_0)(T / T_0)^alpha. Both are returned in FLOP.

References
----------
Erdil & Schneider-Joseph (2024); docs: Closed forms. As published, T_0 is a FLOP count in a bracket of MAC: nothing at
alpha = 0, 1.6 times low at alpha = 0.2. ``mac_reference`` mends it.
"""

import math
from dataclasses import dataclass

from walltime.hardware import Cluster
from walltime.limits.scaling_laws import constants
from walltime.problems import BadInput

_MATMULS_OF_TWO_NANOBATCHES = 2 * 6
_WAITS_A_LAYER = 2 + 2


@dataclass(frozen=True)
class NodeBalance:
    """What the closed form needs to know of a node.

    Attributes
    ----------
    mac_per_s
        Multiply-accumulates of a node at peak. [MAC/s]
    network_words_per_s, memory_words_per_s
        One way, of a node. [words/s]
    """

    mac_per_s: float
    network_words_per_s: float
    memory_words_per_s: float

    @property
    def nanobatch_tokens(self) -> float:
        """Fewest tokens that keep weight-gradient accumulation off the memory bandwidth, n."""
        return self.mac_per_s / self.memory_words_per_s

    @property
    def shard_width(self) -> float:
        """Smallest side of a weight shard that keeps tensor parallelism off the network bandwidth, s."""
        return 4 * self.mac_per_s / (3 * self.network_words_per_s)

    @classmethod
    def of(cls, cluster: Cluster) -> "NodeBalance":
        """Take the innermost level as the node and the outermost as the network.

        Memory words pass half one way (a weight gradient is loaded and stored).
        """
        chip, network = cluster.accelerator, cluster.network
        accelerators = network.level_sizes[0] if network.level_sizes else 1
        word_bytes = chip.word_bytes
        return cls(
            mac_per_s=accelerators * chip.peak_flop_per_s / 2,
            network_words_per_s=accelerators * network.bytes_per_s[-1] / word_bytes,
            memory_words_per_s=accelerators * chip.hbm_bytes_per_s / (2 * word_bytes),
        )


def t_crit_flop(
    node: NodeBalance, alpha: float = 0, duration_s: float | None = None, *, mac_reference: bool = False
) -> float:
    """Training compute at which data movement begins to cost utilisation, for a dense family [FLOP].

    Parameters
    ----------
    node
        Balance of arithmetic, network and memory.
    alpha
        Exponent of batch over depth in training compute, below 1/2.
    duration_s
        How long the run may take; a quarter of a Julian year by default. [s]
    mac_reference
        Take the reference compute as MAC, mending defect 5.

    Returns
    -------
    float
        Infinite where the network is.
    """
    nanobatch_layer_macs = node.shard_width**2 * node.nanobatch_tokens
    if nanobatch_layer_macs == 0:
        return math.inf
    batches = node.mac_per_s * _duration_s(duration_s) / nanobatch_layer_macs
    return _largest_flop(batches, _MATMULS_OF_TWO_NANOBATCHES, alpha, mac_reference)


def t_limit_flop(
    alpha: float = 0, duration_s: float | None = None, step_s: float | None = None, *, mac_reference: bool = False
) -> float:
    """Training compute beyond which latency alone takes longer than the run may, for a dense family [FLOP].

    Parameters
    ----------
    alpha, duration_s, mac_reference
        As for `t_crit_flop`.
    step_s
        One matmul and the all-reduce after it, tau; 9 us by default. Two of each forward and two backward
        follow each other in every layer. [s]
    """
    tau_s = constants("closed_form")["matmul_and_all_reduce_s"] if step_s is None else step_s
    return _largest_flop(_duration_s(duration_s) / tau_s, _WAITS_A_LAYER, alpha, mac_reference)


def _duration_s(duration_s: float | None) -> float:
    return constants("closed_form")["seconds"] if duration_s is None else duration_s


def _largest_flop(batches: float, units_a_layer: int, alpha: float, mac_reference: bool) -> float:
    """Solve (D / B) k L = batches for T, with N parameters, D = r N tokens, T = 3 r N^2 MAC and B/L from alpha.

    ``batches`` is how many layers of one batch, of k units each, fit into the run one after another.
    """
    if not alpha < 1 / 2:
        raise BadInput(f"alpha={alpha!r} must be below 0.5: beyond it batches outgrow every limit.")
    law, per_parameter = constants("closed_form"), constants("run")["tokens_per_parameter"]
    reference = law["training_compute"] / 2 if mac_reference else law["training_compute"]
    batch_over_layers = law["tokens"] / law["layers"] * reference**-alpha
    base = 3 / (per_parameter * units_a_layer**2) * (batch_over_layers * batches) ** 2
    return 2 * base ** (1 / (1 - 2 * alpha))


T_CRIT_POWERS = {
    "batch over layers": 2,
    "duration": 2,
    "network bandwidth": 4,
    "memory bandwidth": 2,
    "peak arithmetic": -4,
}
"""Log-log sensitivities of T_crit at alpha = 0: each is divided by 1 - 2 alpha."""
T_LIMIT_POWERS = {"batch over layers": 2, "duration": 2, "latency of a matmul and its all-reduce": -2}
"""Log-log sensitivities of T_limit at alpha = 0: each is divided by 1 - 2 alpha."""


def sensitivities(powers: dict[str, int], alpha: float) -> dict[str, float]:
    """Return the log-log sensitivities at another alpha: d log T / d log input."""
    return {name: power / (1 - 2 * alpha) for name, power in powers.items()}
