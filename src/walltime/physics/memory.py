"""Memory of weights, optimizer state and activations."""

from walltime.arrays import Numeric


def weight_bytes(num_parameters: float, word_bytes: float, dp: Numeric) -> Numeric:
    """Bytes of weights on all accelerators together: one copy per data-parallel rank [B]."""
    return num_parameters * word_bytes * dp


def optimizer_bytes(num_parameters: float, word_bytes: float) -> float:
    """Bytes of gradients and optimizer state together, sharded over data parallelism: four words a parameter [B].

    References
    ----------
    Erdil & Schneider-Joseph (2024), published program; docs: Search.
    """
    return 4 * num_parameters * word_bytes
