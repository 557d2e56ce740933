"""The theory's workload: a stack of two-matrix MLP layers, dense or with top-1 experts."""

from dataclasses import dataclass

from walltime.problems import BadInput
from walltime.units import LARGEST_SIZE, whole


@dataclass(frozen=True)
class MlpStack:
    """A model of feed-forward layers only, and the batch it is trained with.

    Attributes
    ----------
    d_model, d_ff
        Width of the residual stream and of the hidden layer.
    num_layers
        Layers of two matrices each.
    num_experts
        Experts a layer; each token visits one (top-1, perfectly balanced). 1 is dense.
    batch_tokens
        Tokens in one optimizer step.
    training_tokens
        Tokens of the whole run.

    Approximations
    --------------
    No attention, no embeddings, no shared experts, no routing overhead.

    References
    ----------
    Erdil & Schneider-Joseph (2024), section on the model; docs: The model, and how it grows.
    """

    d_model: int
    d_ff: int
    num_layers: int
    num_experts: int
    batch_tokens: int
    training_tokens: float

    def __post_init__(self) -> None:
        """Refuse sizes that are not positive whole numbers."""
        for name in ("d_model", "d_ff", "num_layers", "num_experts", "batch_tokens"):
            whole(getattr(self, name), name, LARGEST_SIZE)
        if not 0 < self.training_tokens < float("inf"):
            raise BadInput(f"training_tokens={self.training_tokens!r} must be a positive, finite number.")

    @property
    def num_parameters(self) -> int:
        """Parameters of all experts: two matrices a layer and expert."""
        return 2 * self.d_model * self.d_ff * self.num_layers * self.num_experts

    @property
    def num_active_parameters(self) -> int:
        """Parameters that one token meets."""
        return self.num_parameters // self.num_experts

    @property
    def step_flop(self) -> float:
        """FLOP of one step: 6 per active parameter and token (2 forward, 4 backward)."""
        return 6.0 * self.num_active_parameters * self.batch_tokens

    @property
    def training_flop(self) -> float:
        """FLOP of the whole run."""
        return 6.0 * self.num_active_parameters * self.training_tokens

    @property
    def num_steps(self) -> float:
        """Steps in the run; not rounded."""
        return self.training_tokens / self.batch_tokens
