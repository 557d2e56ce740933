"""What is asked: the same training at several sizes, its batch the same in all, or the same for each accelerator."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from walltime.hardware import Cluster
from walltime.planner.question import Question
from walltime.problems import BadInput
from walltime.units import LARGEST_SIZE, whole

Mode = Literal["weak", "strong"]
MODES: tuple[Mode, ...] = ("weak", "strong")
"""Weak scaling keeps the sequences of an accelerator, strong scaling those of the whole cluster."""
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{1,12})?|\d{1,12}/\d{1,12}")


@dataclass(frozen=True)
class ScaleQuestion:
    """What does each added accelerator return?

    Attributes
    ----------
    question
        What holds at every size. Its clusters are the sizes; its batch is that of strong scaling.
    batch_per_gpu
        Sequences of an accelerator and step in weak scaling; None for strong scaling.
    """

    question: Question
    batch_per_gpu: Fraction | None = None

    @property
    def mode(self) -> Mode:
        """Whether the batch grows with the cluster."""
        return "strong" if self.batch_per_gpu is None else "weak"

    def batch_seqs(self, num_gpus: int) -> int | None:
        """Return the sequences of a step on so many accelerators; None if they are not a whole number."""
        if self.batch_per_gpu is None:
            return self.question.training.batch_seqs
        seqs = self.batch_per_gpu * num_gpus
        return whole(int(seqs), "batch", LARGEST_SIZE) if seqs.denominator == 1 else None

    def at(self, cluster: Cluster) -> Question | None:
        """Return what is asked on one cluster: its fastest plan; None if its batch is not a whole number."""
        seqs = self.batch_seqs(cluster.num_gpus or 1)
        if seqs is None:
            return None
        training = replace(self.question.training, batch_seqs=seqs)
        return replace(self.question, training=training, clusters=(cluster,), goal="time")


def sequences_per_gpu(given: object, field: str = "batch_per_gpu") -> Fraction:
    """Read how many sequences an accelerator takes in a step: ``2``, ``0.125`` or ``1/8``.

    Raises
    ------
    BadInput
        Not a positive number, or none that is meant.
    """
    text = str(given).strip()
    over = text.partition("/")[2]
    if not _NUMBER.fullmatch(text) or (over and not int(over)) or not Fraction(text):
        raise BadInput(f"{field}={text[:60]} must be a positive number of sequences. Valid: 2, 0.125 or 1/8.")
    return Fraction(text)
