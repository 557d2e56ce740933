"""A processor as a catalog record: what was measured of it, and wide estimates of what only the theory asks for."""

import re

import numpy as np

from walltime.calibrate.machine.blocks import Source, rounded
from walltime.calibrate.machine.known import Rates, told
from walltime.calibrate.machine.rows import MachineRows
from walltime.calibrate.machine.tables import matmul_tables, memory_table
from walltime.catalog import AcceleratorRecord, EfficiencyRecord, Number

_LARGE = 0.25
"""Products of at least this share of the largest one's FLOP stand for a long run of large ones."""
_GIGA = 1e9


def processor_record(calibration_id: str, rows: MachineRows, rates: Rates, source: Source) -> AcceleratorRecord:
    """Return the record of a share of a processor."""
    name = rows.gpu_names[0]
    return AcceleratorRecord(
        schema=1,
        id=calibration_id,
        name=name,
        vendor=re.split(r"[\s(]", name)[0],
        usual_cluster=calibration_id,
        aliases=list(rows.gpu_names),
        hbm_bytes=memory_share(rows, source),
        hbm_bytes_per_s=rates.hbm_bytes_per_s,
        l2_bytes=_cache_bytes(rows, source),
        num_sms=_cores(rows, source),
        max_clock_hz=_guess(3e9, 1e9, 6e9, "clock of a core"),
        register_bytes_per_sm=_guess(2048, 512, 4096, "vector registers of a core"),
        register_blocks_per_sm=_guess(1, 1, 2, "register files of a core"),
        shared_memory_bytes_per_clock_per_sm=_guess(64, 32, 192, "bytes that a core loads from its cache in a clock"),
        distributed_shared_memory=Number(False, "derived", note="Cores do not read each other's registers."),
        peak_flop_per_s=rates.peaks,
        notes="A share of a processor, measured: peaks and bandwidth are the largest rates seen, no datasheet's.",
    )


def _guess(value: float, low: float, high: float, what: str) -> Number:
    note = f"Not measured, and asked for by the theory's matmuls alone: {what}, as processors of these years have it."
    return Number(value, "estimate", low=low, high=high, note=note)


def memory_share(rows: MachineRows, source: Source) -> Number:
    """Return the memory of one process: its share of the host's, or the most that a row shows to fit. [B]"""
    host_bytes, processes = told(rows, "host_memory_bytes"), told(rows, "ranks_per_node") or 1
    if host_bytes:
        note = f"The host's memory over {processes} processes."
        return source.measured(host_bytes / processes, "environments", note)
    held = [row.mem_gb * _GIGA for row in rows.training if row.mem_gb]
    table = memory_table(rows.kernels)
    moved = [] if table is None else [float(table.num_bytes.max())]
    note = "The most that a measured row is known to have held: no environment beside the rows says how much there is."
    return Number(rounded(max([*held, *moved])), "derived", note=note)


def _cache_bytes(rows: MachineRows, source: Source) -> Number:
    told_bytes = told(rows, "processor_cache_bytes")
    if told_bytes:
        return source.measured(float(told_bytes), "environments", "The cache that cores share.")
    return _guess(3.2e7, 1e6, 5e8, "the cache that cores share")


def _cores(rows: MachineRows, source: Source) -> Number:
    threads = told(rows, "num_threads")
    if threads:
        return source.measured(float(threads), "environments", "Threads of a process.")
    named = re.search(r"([\d.]+) cores?$", rows.gpu_names[0])
    return Number(
        float(named[1]) if named else 1, "derived", note="From what the rows call it; one if they do not say."
    )


def processor_efficiency(
    calibration_id: str, rows: MachineRows, rates: Rates, latency_s: float, source: Source
) -> EfficiencyRecord:
    """Return what a processor achieves: of its largest rates, in large matmuls and in its caches."""
    memory = memory_table(rows.kernels)
    assert memory is not None
    return EfficiencyRecord(
        schema=1,
        accelerator=calibration_id,
        achievable_fraction=large_matmuls(rows, rates, source) or Number(1, "derived", note="Not measured."),
        l2_bytes_per_s=source.measured(
            float(np.max(memory.bytes_per_s)), "memory-bound kernels", "The largest rate in any cache."
        ),
        matmul_latency_s=source.measured(latency_s, "matmuls", "As fitted."),
    )


def large_matmuls(rows: MachineRows, rates: Rates, source: Source, least: float = 0) -> Number | None:
    """Return the share of the peak that large matmuls reach in the median, of the usual precision; None without any.

    Parameters
    ----------
    rows, rates, source
        The machine.
    least
        Rows, columns and summed dimension that count as large; by default products of a quarter of the largest's FLOP.
    """
    for precision, table in sorted(
        matmul_tables(rows.kernels).items(), key=lambda item: item[0] not in ("bf16", "fp16")
    ):
        flop = 2 * table.m * table.n * table.k * table.groups
        smallest = np.minimum(np.minimum(table.m, table.n), table.k)
        used = smallest >= least if least else flop >= _LARGE * flop.max()
        if used.any():
            share = float(np.median((flop / table.time_s)[used])) / float(rates.peaks[precision].value)
            return source.measured(min(share, 1), f"large {precision} matmuls", f"Median of {used.sum()} shapes.")
    return None
