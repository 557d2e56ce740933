"""Families of runs: one model for every width, by the scaling laws."""

from collections.abc import Mapping
from dataclasses import dataclass

from walltime.limits.scaling_laws import (
    BATCH_LAWS,
    DATA_LAWS,
    DEPTH_LAWS,
    SPARSITY_LAWS,
    constants,
    round_to_grid,
)
from walltime.problems import unknown
from walltime.units import LARGEST_SIZE, whole
from walltime.workload import MlpStack


@dataclass(frozen=True)
class RunFamily:
    """Runs that differ in size only.

    Attributes
    ----------
    sparsity, batch_law, depth_law, data_law
        Names of laws in `walltime.limits.scaling_laws`.
    seq_len
        Tokens in a sequence; the batch is a whole number of sequences. By default that of Erdil2024.
    """

    sparsity: str = "dense"
    batch_law: str = "default"
    depth_law: str = "hoffmann"
    data_law: str = "chinchilla"
    seq_len: int | None = None

    def __post_init__(self) -> None:
        """Refuse unknown laws."""
        for field, laws in _LAWS.items():
            if getattr(self, field) not in laws:
                raise unknown(field.replace("_", " "), getattr(self, field), laws)
        if self.seq_len is not None:
            whole(self.seq_len, "seq_len", LARGEST_SIZE)

    @property
    def sequence_tokens(self) -> int:
        """Tokens in a sequence."""
        return int(constants("run")["seq_len"]) if self.seq_len is None else self.seq_len

    def model(
        self,
        d_model: int,
        d_ff: int | None = None,
        *,
        num_layers: int | None = None,
        num_experts: int | None = None,
        batch_tokens: int | None = None,
    ) -> MlpStack:
        """Return the member of this width.

        Depth, sparsity and batch come from the laws, unless given, and are rounded to numbers that divide well;
        a batch is a multiple of the number of experts, except where it is constant.

        References
        ----------
        Erdil & Schneider-Joseph (2024), published program; docs: The model, and how it grows.
        """
        d_ff = d_ff or int(constants("run")["ff_ratio"]) * d_model
        layers = num_layers or round_to_grid(DEPTH_LAWS[self.depth_law](d_model, d_ff))
        experts = num_experts or round_to_grid(SPARSITY_LAWS[self.sparsity](d_model, d_ff))
        active_parameters = 2 * d_model * d_ff * layers
        tokens = DATA_LAWS[self.data_law](active_parameters * experts)
        training_flop = 6 * active_parameters * tokens
        batch = batch_tokens or self._batch_tokens(training_flop, experts)
        return MlpStack(d_model, d_ff, layers, experts, batch, tokens)

    def _batch_tokens(self, training_flop: float, experts: int) -> int:
        sequences = BATCH_LAWS[self.batch_law](training_flop, experts) / self.sequence_tokens
        if self.batch_law == "none":
            return max(1, int(sequences)) * self.sequence_tokens
        return experts * round_to_grid(sequences / experts) * self.sequence_tokens


_LAWS: dict[str, Mapping[str, object]] = {
    "sparsity": SPARSITY_LAWS,
    "batch_law": BATCH_LAWS,
    "depth_law": DEPTH_LAWS,
    "data_law": DATA_LAWS,
}


def width_grid() -> list[int]:
    """Return the widths of the study's curves: 55 values of odd x 2^i from 12,288 to 1,572,864.

    References
    ----------
    Erdil & Schneider-Joseph (2024), published program; docs: The model, and how it grows.
    """
    grid = constants("width_grid")
    odd = range(1, int(grid["largest_odd"]) + 1, 2)
    exponents = range(int(grid["smallest_exponent"]), int(grid["largest_exponent"]) + 1)
    widths = {k * 2**i for k in odd for i in exponents}
    return sorted(w for w in widths if grid["smallest_d_model"] <= w <= grid["largest_d_model"])
