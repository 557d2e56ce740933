"""Rows that a real machine of two cores gave: half of its training steps predict the other half.

``tests/data/processor`` holds what these commands measured there, one after another, and nothing else running:

    walltime measure gemm --nproc 2 --precision fp32 --max-size 4096 --budget 150s --csv kernels.csv
    walltime measure collectives --nproc 2 --max-size 64MiB --budget 60s --csv collectives.csv
    walltime measure sweep processor.toml
"""

from pathlib import Path

import numpy as np
import pytest

from walltime.calibrate.machine.fit import calibrate
from walltime.calibrate.machine.quality import Holdout
from walltime.calibrate.machine.rows import read_machine
from walltime.validate.measured import read_measured

ROWS = Path(__file__).parents[1] / "data" / "processor"
KERNELS, COLLECTIVES, STEPS = (ROWS / f"{name}.csv" for name in ("kernels", "collectives", "steps"))
MOST_HELD_OUT = 0.15
MOST_OF_THE_PROFILER = 0.1
"""A profiled step over a timed one, less one: watching takes time, and each row has one profiled step."""


def step_quality(files, seed):
    record = calibrate(read_machine(files), "two-cores", Holdout(2, seed), "walltime calibrate").record
    return next(each for each in record.quality if each.part == "step time")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_half_of_a_sweep_predicts_the_other_half(seed):
    quality = step_quality([KERNELS, COLLECTIVES, STEPS], seed)
    assert quality.rows == len(read_measured(STEPS))
    assert quality.held_out_median_error < MOST_HELD_OUT
    assert quality.median_error <= quality.held_out_median_error


def test_the_sweep_has_every_kind_of_parallelism():
    rows = read_measured(STEPS)
    kinds = {(row.tp, row.pp, row.dp, row.sharding if row.dp > 1 else "") for row in rows}
    assert kinds == {(1, 1, 1, ""), (1, 1, 2, "ddp"), (1, 1, 2, "zero3"), (2, 1, 1, ""), (1, 2, 1, "")}


def test_measured_parts_add_up_to_the_step_that_was_timed_without_the_profiler():
    over_timed = []
    for row in read_measured(STEPS):
        cells = {name: float(row.other[name]) for name in ("compute_s", "exposed_communication_s", "idle_s")}
        assert min(cells.values()) >= 0
        over_timed.append(sum(cells.values()) / row.step_time_s)
    assert abs(np.median(over_timed) - 1) < MOST_OF_THE_PROFILER
