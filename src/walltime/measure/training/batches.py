"""Random tokens: the same global batch in the same order under any plan."""

from dataclasses import dataclass
from typing import Any

import torch

from walltime.measure.training.weights import number_of
from walltime.workload import Training


@dataclass(frozen=True)
class Batch:
    """A rank's sequences of one step: tokens, and for each the one that follows, (sequences, seq_len)."""

    tokens: Any
    targets: Any

    def micro(self, size: int) -> list["Batch"]:
        """Return the batch in pieces of as many sequences."""
        pieces = zip(self.tokens.split(size), self.targets.split(size), strict=True)
        return [Batch(*piece) for piece in pieces]


def batch_of(training: Training, step: int, seed: int, share: range, device: Any) -> Batch:
    """Return some sequences of a step's global batch.

    Parameters
    ----------
    training
        Whose batch it is.
    step, seed
        Decide the tokens.
    share
        Which sequences of the global batch.
    device
        Where they are wanted.
    """
    generator = torch.Generator()
    generator.manual_seed(number_of(f"tokens of step {step}", seed))
    shape = (training.batch_seqs, training.seq_len + 1)
    tokens = torch.randint(training.model.vocab_size, shape, generator=generator)[share.start : share.stop].to(device)
    return Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
