"""The fitted numbers of an accelerator, a network and a software stack, joined for the engine."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.catalog import AcceleratorRecord, parameter_set
from walltime.catalog.calibrations import CalibrationRecord, calibration_record
from walltime.catalog.fitted import (
    AttentionRecord,
    FittedBlock,
    KernelsRecord,
    accelerator_blocks,
    kernels_record,
    stack_blocks,
    training_record,
)
from walltime.engines.what_if import accelerator_ratios, link_values
from walltime.hardware import Cluster
from walltime.physics import links
from walltime.physics.kernels import AttentionKernel, AttentionPass, MatmulKernel, attention_time_s, matmul_time_s
from walltime.physics.links import LinkLevel
from walltime.plan import PRECISIONS, Precision
from walltime.plan.placement import Span
from walltime.problems import BadInput

_SIXTEEN_BIT = ("bf16", "fp16")
_REMEMBERED = 8
_FORMATS: Mapping[str, str] = {"fp8-block": "fp8", "mxfp8": "fp8", "nvfp4": "fp4"}
"""Number formats on a datasheet that a precision of plans stands for, where it is called otherwise."""
_FLASH2 = ("flash-attention-2", "composable-kernel-2024", "aiter", "cudnn", "splash")
_ATTENTION = {
    "flash1": _FLASH2,
    "flash2": _FLASH2,
    "flash3": ("cudnn", "flash-attention-3", "flash-attention-4", "aiter", "splash", "flash-attention-2"),
}
"""Kernels of the catalog that a stack's kind of attention stands for, the first that the accelerator has."""


@dataclass(frozen=True)
class Links:
    """Collectives on one network; messages as `walltime.physics.links` has them.

    Attributes
    ----------
    levels
        Of the network, innermost first, at the cluster's bandwidths.
    """

    levels: tuple[LinkLevel, ...]

    def all_gather_time_s(self, message_bytes: Numeric, group: Span) -> Floats:
        """Time of an all-gather. [s]"""
        return links.all_gather_time_s(message_bytes, self.levels, group)

    def reduce_scatter_time_s(self, message_bytes: Numeric, group: Span) -> Floats:
        """Time of a reduce-scatter. [s]"""
        return links.reduce_scatter_time_s(message_bytes, self.levels, group)

    def all_reduce_time_s(self, message_bytes: Numeric, group: Span) -> Floats:
        """Time of an all-reduce. [s]"""
        return links.all_reduce_time_s(message_bytes, self.levels, group)

    def all_to_all_time_s(self, message_bytes: Numeric, group: Span) -> Floats:
        """Time of an all-to-all. [s]"""
        return links.all_to_all_time_s(message_bytes, self.levels, group)

    def send_time_s(self, message_bytes: Numeric, group: Span) -> Floats:
        """Time of a send between neighbours of a group, over the outermost level that they span. [s]"""
        time_s = links.send_time_s(message_bytes, self.levels[0])
        for level, joined in zip(self.levels[1:], group[1:], strict=True):
            time_s = np.where(joined > 1, links.send_time_s(message_bytes, level), time_s)
        return time_s


@dataclass(frozen=True)
class AcceleratorNumbers:
    """What an accelerator sustains in training, as shares of what its kernels reach by themselves.

    Attributes
    ----------
    sustained, sustained_8bit, sustained_attention
        Of matmuls in 16 or 32 bits, of those in 8 or 4, of fused attention.
    memory_efficiency
        Share of the memory bandwidth that memory-bound kernels reach.
    flash1_share
        Speed of the first FlashAttention over that of the second.
    dropout_slowdown
        Time of fused attention with dropout over that without.
    """

    sustained: float
    sustained_8bit: float
    sustained_attention: float
    memory_efficiency: float
    flash1_share: float
    dropout_slowdown: float


@dataclass(frozen=True)
class StackNumbers:
    """What a software stack adds.

    Attributes
    ----------
    kernel_efficiency
        Speed of its matmul and attention kernels over that of the accelerator's best.
    scaled_efficiency
        Speed of matmuls scaled by block or row over those scaled by tensor.
    four_bit_efficiency
        Speed of four-bit matmuls over that of eight-bit ones, each as a share of its peak.
    memory_factor
        Bytes of its memory-bound kernels over the least possible.
    kernel_gap_s
        Time between kernels on the accelerator. [s]
    host_layer_s, host_moe_s
        Time that the host takes to start one pass over one layer, dense or with experts. [s]
    microbatch_s, step_s
        Fixed time of a microbatch and of a step. [s]
    overlap_dp, overlap_tp, overlap_ep, overlap_pp
        Share of each communication that can run beside computation, where the stack lets it.
    contention
        Time that hidden communication adds to computation, over its own.
    tp_factor
        Time of tensor-parallel communication over that of the same collectives by themselves.
    shard_rank_s
        Time of a step for each rank that the optimizer's state is shared out over, beyond that of its bytes. [s]
    dp_factor
        Time of data-parallel communication over that of the same collectives by themselves. It is 1 but on processors,
        where the cores that communicate are those that compute.
    """

    kernel_efficiency: float
    scaled_efficiency: float
    four_bit_efficiency: float
    memory_factor: float
    kernel_gap_s: float
    host_layer_s: float
    host_moe_s: float
    microbatch_s: float
    step_s: float
    overlap_dp: float
    overlap_tp: float
    overlap_ep: float
    overlap_pp: float
    contention: float
    tp_factor: float
    shard_rank_s: float
    dp_factor: float = 1.0


@dataclass(frozen=True)
class Kernels:
    """The kernels of one accelerator and their datasheet rates.

    Attributes
    ----------
    matmul
        By number format.
    attention
        Fused attention, by kernel.
    peak_flop_per_s
        Dense peaks, by number format. [FLOP/s]
    hbm_bytes_per_s
        Memory bandwidth. [B/s]
    """

    matmul: Mapping[str, MatmulKernel]
    attention: Mapping[str, AttentionKernel]
    peak_flop_per_s: Mapping[str, float]
    hbm_bytes_per_s: float

    def fused_attention(self, kernel: str) -> AttentionKernel:
        """Return the accelerator's kernel of this kind, or the nearest that it has.

        Raises
        ------
        BadInput
            There is no fused attention for this accelerator.
        """
        for name in _ATTENTION[kernel]:
            if name in self.attention:
                return self.attention[name]
        raise BadInput(
            f"attention={kernel} (a stack's own unless the plan names one): no fused kernel for this accelerator. "
            "Valid: unfused, fused-softmax."
        )

    def of(self, precision: Precision) -> tuple[MatmulKernel, float]:
        """Return the matmul kernel of a precision and its peak; 16-bit formats share theirs.

        Raises
        ------
        BadInput
            The accelerator has no such format.
        """
        kind = _FORMATS.get(precision, precision)
        peaks = self.peak_flop_per_s
        if kind not in peaks and kind in _SIXTEEN_BIT:
            kind = next((other for other in _SIXTEEN_BIT if other in peaks), kind)
        if kind not in peaks:
            valid = [name for name in PRECISIONS if _FORMATS.get(name, name) in peaks]
            instead = (
                f"Valid: {', '.join(valid)}."
                if valid
                else f"It has none of a plan's formats ({', '.join(PRECISIONS)}), only {', '.join(peaks)}."
            )
            raise BadInput(f"precision={precision} needs {kind}, which the accelerator lacks. {instead}")
        named = self.matmul
        kernel = named.get(kind) or named.get("fp8" if kind == "fp4" else "bf16") or next(iter(named.values()))
        return kernel, peaks[kind]


@dataclass(frozen=True)
class Calibration:
    """An accelerator, a network and a software stack, as the engine sees them together.

    Attributes
    ----------
    cluster
        What they describe.
    links, kernels, chip, stack
        The network's collectives, the accelerator's kernels, what it sustains, what the software adds.
    kin_burst
        Efficiency that very large 16-bit matmuls approach (``max_efficiency``) on the accelerator that ``chip`` was
        fitted on, over that of ``kernels``. Two accelerators with the same chip sustain the same rate in a long run, so
        what somebody else's measurement of short bursts says of one must not count twice. 1 but for the H200.
    """

    cluster: Cluster
    links: Links
    kernels: Kernels
    chip: AcceleratorNumbers
    stack: StackNumbers
    kin_burst: float = 1.0

    def matmul_time_s(
        self,
        m: Numeric,
        n: Numeric,
        k: Numeric,
        precision: Precision,
        groups: Numeric = 1,
        slowdown: str = "",
        result_bytes: float = 2,
    ) -> Floats:
        """Time of one matmul kernel, or of ``groups`` in one, with the ``slowdown`` of that kind of kernel. [s]

        ``result_bytes`` are moved for each element of the result. [B]
        """
        kernel, peak = self.kernels.of(precision)
        width, share = 2, min(self.chip.sustained * self.kin_burst, 1) * self.stack.kernel_efficiency
        if precision == "fp32":
            width = 4
        elif precision not in _SIXTEEN_BIT:
            width, share = 1, self.chip.sustained_8bit * self.stack.kernel_efficiency
            share *= self.stack.scaled_efficiency if precision != "fp8" else 1
            share *= self.stack.four_bit_efficiency if precision == "nvfp4" else 1
        rates = (kernel, peak * share, self.kernels.hbm_bytes_per_s, width, result_bytes)
        time_s = matmul_time_s(m, n, k, *rates, num_groups=groups)
        if slowdown:
            time_s = time_s * getattr(kernel, slowdown)
        return np.asarray(time_s + self.stack.kernel_gap_s)

    def memory_time_s(self, num_bytes: Numeric) -> Floats:
        """Time of a memory-bound kernel. [s]"""
        rate = self.kernels.hbm_bytes_per_s * self.chip.memory_efficiency
        return np.asarray(num_bytes * self.stack.memory_factor / rate + self.stack.kernel_gap_s)

    def flash_time_s(
        self,
        kernel: str,
        num_heads: Numeric,
        q_len: Numeric,
        kv_len: Numeric,
        dims: tuple[Numeric, Numeric],
        causal: bool,
        dropout: bool = False,
        precision: Precision = "bf16",
    ) -> tuple[Floats, Floats]:
        """Time of fused attention, forward and backward, with queries and values ``dims`` wide. [s]"""
        attention = self.kernels.fused_attention(kernel)
        share = self.chip.sustained_attention * self.stack.kernel_efficiency
        if kernel == "flash1":
            share *= self.chip.flash1_share
        if dropout:
            share /= self.chip.dropout_slowdown
        peak = self.kernels.of(precision)[1] * share
        args = (num_heads, q_len, kv_len, attention, peak, *dims)
        forward = attention_time_s(*args, causal=causal)
        backward = attention_time_s(*args, causal=causal, backward=True)
        gap_s = self.stack.kernel_gap_s
        return np.asarray(forward + gap_s), np.asarray(backward + gap_s)


def kernels(accelerator: str) -> Kernels:
    """Return the kernels of an accelerator, of the catalog or of a calibration."""
    own = calibration_record(accelerator)
    return _kernels_of_catalog(accelerator) if own is None else _kernels_of_calibration(own)


@functools.cache
def _kernels_of_catalog(accelerator: str) -> Kernels:
    record = parameter_set("datasheet").get(AcceleratorRecord, accelerator)
    return _kernels(record, kernels_record(record.id))


@functools.lru_cache(maxsize=_REMEMBERED)
def _kernels_of_calibration(own: CalibrationRecord) -> Kernels:
    try:
        return _kernels(own.accelerator, own.kernels)
    except TypeError as error:
        raise BadInput(f"calibration {own.id}, kernels: {error}.") from None


def _kernels(record: AcceleratorRecord, fitted: KernelsRecord) -> Kernels:
    return Kernels(
        matmul={name: MatmulKernel(**block.values) for name, block in fitted.matmul.items()},  # type: ignore[arg-type]
        attention={name: _attention_kernel(block) for name, block in fitted.attention.items()},
        peak_flop_per_s={name: float(number.value) for name, number in record.peak_flop_per_s.items()},
        hbm_bytes_per_s=float(record.hbm_bytes_per_s.value),
    )


def _as_set(fitted: Kernels, cluster: Cluster) -> Kernels:
    """Return kernels with what was set for a cluster's accelerator."""
    ratios = accelerator_ratios(cluster)
    slow = ratios.latency
    return Kernels(
        matmul={name: replace(one, latency_s=one.latency_s * slow) for name, one in fitted.matmul.items()},
        attention={name: replace(one, latency_s=one.latency_s * slow) for name, one in fitted.attention.items()},
        peak_flop_per_s={name: rate * ratios.peak for name, rate in fitted.peak_flop_per_s.items()},
        hbm_bytes_per_s=fitted.hbm_bytes_per_s * ratios.memory_bandwidth,
    )


def _sustaining(chip: AcceleratorNumbers, ratio: float) -> AcceleratorNumbers:
    """Return an accelerator that sustains more or less of its peak than the catalog says, at most all of it."""
    shares = ("sustained", "sustained_8bit", "sustained_attention")
    return replace(chip, **{name: min(getattr(chip, name) * ratio, 1) for name in shares}) if ratio != 1 else chip


def _attention_kernel(record: AttentionRecord) -> AttentionKernel:
    return AttentionKernel(
        forward=AttentionPass(**record.forward.values),
        backward=AttentionPass(**record.backward.values),
        full_head_dim=record.full_head_dim,
        block_len=record.block_len,
        num_cores=record.num_cores,
        latency_s=record.latency_s,
    )


def network_links(cluster: Cluster) -> Links:
    """Return the links of a cluster's network, at the bandwidths and latencies that the cluster has."""
    levels = zip(cluster.network.bytes_per_s, link_values(cluster), strict=True)
    try:
        return Links(tuple(LinkLevel(bytes_per_s=bytes_per_s, **values) for bytes_per_s, values in levels))
    except TypeError as error:
        raise BadInput(f"{cluster.name}, links: {error}.") from None


def _numbers(kind: type, blocks: Sequence[FittedBlock]) -> dict[str, float]:
    """Return fitted values by name, those of later blocks over those of earlier ones."""
    found: dict[str, float] = {}
    for block in blocks:
        found |= block.values
    return {field.name: found[field.name] for field in fields(kind) if field.name in found}


def calibration(cluster: Cluster, stack_id: str) -> Calibration:
    """Return the fitted numbers for a cluster and a software stack."""
    chip = cluster.accelerator.id
    return Calibration(
        cluster=cluster,
        links=network_links(cluster),
        kernels=_as_set(kernels(chip), cluster),
        chip=_sustaining(
            AcceleratorNumbers(**_numbers(AcceleratorNumbers, accelerator_blocks(chip))),
            accelerator_ratios(cluster).achievable,
        ),
        stack=StackNumbers(**_numbers(StackNumbers, stack_blocks(stack_id, chip))),
        kin_burst=_kin_burst(chip),
    )


def _kin_burst(accelerator: str) -> float:
    """Return `Calibration.kin_burst`: 1 where what the accelerator sustains was fitted on itself.

    Of a calibration it is that of the accelerator it is based on, so that slower kernels make slower training.
    """
    own = calibration_record(accelerator)
    if own is not None and own.chip is not None and "sustained" in own.chip.values:
        return 1.0
    known = accelerator if own is None else own.based_on
    kin = training_record().family_of(known)
    if not kin or kin == known:
        return 1.0
    here, there = (_large_matmul_efficiency(name) for name in (known, kin))
    return there / here if here and there else 1.0


def _large_matmul_efficiency(accelerator: str) -> float | None:
    """Return the share of the 16-bit peak that large matmuls of an accelerator reach, as measured by themselves."""
    matmul = kernels(accelerator).matmul
    return next((matmul[kind].max_efficiency for kind in _SIXTEEN_BIT if kind in matmul), None)


__all__ = ["AcceleratorNumbers", "Calibration", "Kernels", "Links", "StackNumbers", "calibration"]
