"""All kernels of one machine, fitted: matmuls by precision, attention, memory-bound kernels and launches."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from walltime.calibrate.machine.attention import AttentionRows, PassFit, fit_pass, start_kernel, unfitted_pass
from walltime.calibrate.machine.blocks import Source, fitted_block, rounded
from walltime.calibrate.machine.known import Base, Rates, large
from walltime.calibrate.machine.matmul import MatmulFit, fit_matmul
from walltime.calibrate.machine.memory import CACHES_ON_GPU, LEAST_BYTES_ON_CPU, MemoryRows, fit_memory
from walltime.calibrate.machine.quality import Holdout, RowsFit
from walltime.calibrate.machine.rows import MachineRows
from walltime.calibrate.machine.tables import (
    MOVING_OPS,
    attention_tables,
    launch_s,
    matmul_tables,
    memory_table,
    with_cast,
)
from walltime.catalog.fitted import AttentionRecord, FittedBlock, KernelsRecord
from walltime.measure.kernel_rows import MEMORY_OPS
from walltime.physics.kernels import AttentionKernel, MatmulKernel

_NOT_FITTED = ("tail_k", "grouped_slowdown", "grouped_gradient_slowdown")
_EVERY = ("bf16", "fp16", "fp32", "tf32", "fp8")
_USUAL_ATTENTION = "flash-attention-2"
LEAST_ROWS = 4
"""Rows of a precision without which the catalog's numbers are better."""


@dataclass(frozen=True)
class KernelFits:
    """Kernels of one machine.

    Attributes
    ----------
    matmul
        By precision.
    attention, attention_format
        By kernel: its passes, and the number format whose rows were taken.
    memory, memory_least_bytes
        Memory's share of its bandwidth, and the smallest tensors that were taken for it. [B]
    launch_s
        Of an empty kernel. [s]
    """

    matmul: Mapping[str, MatmulFit]
    attention: Mapping[str, Mapping[str, PassFit]]
    attention_format: Mapping[str, str]
    memory: RowsFit | None
    memory_least_bytes: float | None
    launch_s: float | None

    def by_part(self) -> Iterator[tuple[str, RowsFit]]:
        """Yield every fit with the name of its part."""
        yield from ((f"matmul.{precision}", fit.fit) for precision, fit in self.matmul.items())
        for passes in self.attention.values():
            yield from ((f"attention.{name}", fit.fit) for name, fit in passes.items())
        if self.memory:
            yield "memory-bound", self.memory


def fit_kernels(rows: MachineRows, rates: Rates, base: Base | None, holdout: Holdout, precision: str) -> KernelFits:
    """Fit every kernel that was measured.

    Parameters
    ----------
    rows
        Of the machine.
    rates
        That efficiencies are shares of.
    base
        The catalog's records, where it has the machine.
    holdout
        How errors on rows held out are found.
    precision
        In which attention is fitted if it was measured in several: that of the training rows.
    """
    tables = {name: table for name, table in matmul_tables(rows.kernels).items() if len(table.m) >= LEAST_ROWS}
    matmul = {
        name: fit_matmul(
            *(table, rates.device(name), _matmul_kernel(base, name), holdout),
            is_known=base is not None and name in base.kernels.matmul,
            with_cast=with_cast(rows.kernels),
        )
        for name, table in tables.items()
    }
    formats = _attention_formats(rows, rates, precision)
    moving = _memory_rows(rows, base)
    return KernelFits(
        matmul=matmul,
        attention=_attention(rows, rates, base, holdout, formats),
        attention_format=formats,
        memory=_memory(moving, rates, base, holdout),
        memory_least_bytes=None if moving is None else float(moving.num_bytes.min()),
        launch_s=launch_s(rows.kernels),
    )


def _matmul_kernel(base: Base | None, precision: str) -> MatmulKernel | None:
    """Return the catalog's kernel of a precision, or of the nearest that it has."""
    if base is None:
        return None
    known = base.numbers.kernels.matmul
    return next(known[name] for name in (precision, *_EVERY, *known) if name in known)


def _attention_formats(rows: MachineRows, rates: Rates, precision: str) -> dict[str, str]:
    """Return in which number format each attention kernel is fitted, of those with a peak."""
    tables = attention_tables(rows.kernels)
    found = {}
    for kernel in dict.fromkeys(name for name, _ in tables):
        measured = [dtype for name, dtype in tables if name == kernel and dtype in rates.peaks]
        if measured:
            found[kernel] = min(measured, key=(precision, *_EVERY, *measured).index)
    return found


def _attention(
    rows: MachineRows, rates: Rates, base: Base | None, holdout: Holdout, formats: Mapping[str, str]
) -> dict[str, dict[str, PassFit]]:
    tables = attention_tables(rows.kernels)
    return {
        kernel: _passes(tables[kernel, dtype], float(rates.peaks[dtype].value), known_attention(base, kernel), holdout)
        for kernel, dtype in formats.items()
    }


def _passes(
    tables: Mapping[str, AttentionRows], peak_flop_per_s: float, known: AttentionKernel | None, holdout: Holdout
) -> dict[str, PassFit]:
    """Fit the forward pass and then the backward pass, which starts as fast."""
    found: dict[str, PassFit] = {}
    latency_s = None
    for name in sorted(tables, reverse=True):
        found[name] = fit_pass(tables[name], peak_flop_per_s, known, holdout, name, latency_s)
        latency_s = found[name].latency_s
    return found


def known_attention(base: Base | None, kernel: str) -> AttentionKernel | None:
    """Return the catalog's attention kernel, or the nearest that it has; None for a processor."""
    known = base.numbers.kernels.attention if base else {}
    return known.get(kernel) or next(iter(known.values()), None)


def _memory_rows(rows: MachineRows, base: Base | None) -> MemoryRows | None:
    """Return the memory-bound kernels whose tensors no cache holds, None if none was measured."""
    table = memory_table(rows.kernels, MEMORY_OPS if base else MOVING_OPS)
    least = CACHES_ON_GPU * float(base.accelerator.l2_bytes.value) if base else LEAST_BYTES_ON_CPU
    return None if table is None else large(table, least)


def _memory(rows: MemoryRows | None, rates: Rates, base: Base | None, holdout: Holdout) -> RowsFit | None:
    if rows is None:
        return None
    before = base.numbers.chip.memory_efficiency if base else None
    return fit_memory(rows, float(rates.hbm_bytes_per_s.value), before, holdout, is_cpu=base is None)


def kernels_of(calibration_id: str, fits: KernelFits, base: Base | None, source: Source) -> KernelsRecord:
    """Return the kernels of a calibration: the fitted ones over the catalog's."""
    matmul = dict(base.kernels.matmul) if base else {}
    matmul |= {name: _matmul_block(source, name, fit) for name, fit in fits.matmul.items()}
    attention = dict(base.kernels.attention) if base else {}
    for kernel in fits.attention or ({} if base else {_USUAL_ATTENTION: {}}):
        attention[kernel] = _attention_record(source, kernel, fits, base)
    return KernelsRecord(schema=1, accelerator=calibration_id, matmul=matmul, attention=attention)


def _matmul_block(source: Source, precision: str, fit: MatmulFit) -> FittedBlock:
    note = ""
    if fit.cast_bytes:
        note = f"Rows include the cast of the first factor, {fit.cast_bytes:.3g} bytes a number, which is kept apart."
    return fitted_block(source, f"{precision} matmuls", asdict(fit.kernel), fit.fit, _NOT_FITTED, note=note)


def _attention_record(source: Source, kernel: str, fits: KernelFits, base: Base | None) -> AttentionRecord:
    passes = fits.attention.get(kernel, {})
    start = start_kernel(known_attention(base, kernel))
    known = base.kernels.attention.get(kernel) if base else None
    latency_s = max([each.latency_s for each in passes.values()], default=start.latency_s)
    return AttentionRecord(
        forward=_pass_block(source, "forward", passes, known),
        backward=_pass_block(source, "backward", passes, known),
        full_head_dim=start.full_head_dim,
        block_len=start.block_len,
        num_cores=start.num_cores,
        latency_s=rounded(latency_s),
        note="PyTorch's scaled_dot_product_attention.",
    )


def _pass_block(source: Source, name: str, passes: Mapping[str, PassFit], known: AttentionRecord | None) -> FittedBlock:
    fit = passes.get(name)
    if fit is not None:
        return fitted_block(source, f"attention {name}", fit.values, fit.fit)
    if known is not None:
        block: FittedBlock = getattr(known, name)
        return block
    return unfitted_pass(name)
