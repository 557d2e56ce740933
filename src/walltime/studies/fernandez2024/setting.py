"""What a point of the study trains, on what, with what software: everything but the plan."""

import functools
from dataclasses import dataclass, field, replace

from walltime.catalog.fitted import training_record
from walltime.engines.calibration import Calibration, Links, calibration
from walltime.engines.capabilities import EVERYTHING
from walltime.engines.stack import ATTENTION_KERNELS, Stack
from walltime.engines.stack import stack as catalog_stack
from walltime.engines.what_if import link_blocks
from walltime.hardware import Cluster, cluster, override
from walltime.plan import Precision
from walltime.studies.fernandez2024.published import setting as of_paper
from walltime.studies.fernandez2024.published import settings
from walltime.workload import Training, Transformer
from walltime.workload.catalog import transformer

FEW, MANY = 128, 2048
"""The accelerators between which the paper's headline of weak scaling is."""


@dataclass(frozen=True)
class Setting:
    """What is trained on what, by what software; everything but the plan.

    Attributes
    ----------
    num_gpus, batch_seqs
        Accelerators, and sequences of a step over all of them.
    cluster, model, stack
        Ids of the catalog.
    seq_len
        Tokens of a sequence.
    precision
        Number format of matmuls.
    attention
        Attention kernel instead of the stack's own; empty for its own.
    network
        What is set on the network, as ``--set`` takes it.
    ring_inside, ring_between
        ``low`` or ``high``: the ends of what a step of a ring that leaves the node may wait, inside nodes and between
        them, which was never measured; empty
        for the catalog's estimate.
    overlap
        The same of the share of data-parallel communication that the software hides, which was fitted.
    """

    num_gpus: int
    batch_seqs: int
    cluster: str = "h100-sxm"
    model: str = field(default_factory=lambda: settings()["model"])
    seq_len: int = field(default_factory=lambda: of_paper("seq_len"))
    stack: str = "fsdp1"
    precision: Precision = "bf16"
    attention: str = ""
    network: tuple[str, ...] = ()
    ring_inside: str = ""
    ring_between: str = ""
    overlap: str = ""

    @property
    def training(self) -> Training:
        """Model, sequence length and batch."""
        return Training(_model(self.model), self.seq_len, self.batch_seqs)

    def on(self) -> Cluster:
        """Return the cluster, at its number of accelerators."""
        return _cluster(self.cluster, self.network).with_num_gpus(self.num_gpus)

    def software(self) -> Stack:
        """Return the stack with every kind of parallelism: the authors' code added what FSDP1 has not."""
        found = replace(catalog_stack(self.stack), runs=EVERYTHING)
        kernel = next((one for one in ATTENTION_KERNELS if one == self.attention), found.attention)
        return replace(found, attention=kernel)

    def numbers(self) -> Calibration:
        """Return the fitted numbers that it stands on."""
        found = calibration(self.on(), self.stack)
        if self.overlap:
            share = getattr(training_record().stack[self.stack], self.overlap)["overlap_dp"]
            found = replace(found, stack=replace(found.stack, overlap_dp=share))
        inner, outer = link_blocks(self.on())[-2:]
        levels = list(found.links.levels)
        if self.ring_inside:
            levels[-2] = replace(levels[-2], relay_s=getattr(inner, self.ring_inside)["relay_s"])
        if self.ring_between:
            levels[-1] = replace(levels[-1], hop_s=getattr(outer, self.ring_between)["hop_s"])
        return replace(found, links=Links(tuple(levels)))


@functools.cache
def _model(name: str) -> Transformer:
    return transformer(name)


@functools.cache
def _cluster(name: str, network: tuple[str, ...]) -> Cluster:
    return override(cluster(name), network)


def node_size(setting: Setting) -> int:
    """Accelerators that the innermost links join."""
    return setting.on().network.level_sizes[0]
