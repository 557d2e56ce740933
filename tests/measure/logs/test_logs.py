"""Logs of four frameworks, read as they print them."""

import contextlib
import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.measure.logs import read_log, timing
from walltime.measure.logs.numbers import number, positive
from walltime.problems import BadInput

_SAMPLES = importlib.util.spec_from_file_location("log_samples", Path(__file__).with_name("samples.py"))
samples = importlib.util.module_from_spec(_SAMPLES)
_SAMPLES.loader.exec_module(samples)
GIB = 2**30


@pytest.fixture
def log(file):
    return lambda text: read_log(file("train.log", text))


def test_megatron(log):
    found = log(samples.MEGATRON)
    assert found.software == "Megatron-LM"
    assert [step.step for step in found.steps] == [5, 10, 15, 20]
    assert (found.allocated_bytes, found.reserved_bytes) == (2 * GIB, 4 * GIB)
    timed = timing(found, batch_seqs=128, seq_len=4096, num_gpus=16)
    assert (timed.step_time_s, timed.num_lines, timed.num_left_out) == (pytest.approx(2.001), 2, 2)
    assert (timed.loss_first, timed.loss_last) == (10.0, 9.5)
    assert (timed.flop_per_s_per_gpu, timed.power_w) == (pytest.approx(400.5e12), 605.0)


def test_torchtitan(log):
    found = log(samples.TORCHTITAN)
    assert found.software == "torchtitan"
    assert [step.step for step in found.steps] == [1, 10, 20]
    assert found.reserved_bytes == 30 * GIB
    assert found.allocated_bytes is None
    timed = timing(found, batch_seqs=128, seq_len=4096, num_gpus=16)
    assert timed.step_time_s == pytest.approx((128 * 4096 / 16) * (1 / 8000 + 1 / 8192) / 2)
    assert timed.utilization == pytest.approx(0.405)
    assert timed.num_left_out == 1
    assert timed.power_w is None


def test_deepspeed(log):
    found = log(samples.DEEPSPEED)
    assert found.software == "DeepSpeed"
    assert found.allocated_bytes == 20 * GIB
    assert found.timers_s == pytest.approx(
        {"fwd": 1.0, "bwd": 2.5, "bwd_inner": 2.3, "bwd_allreduce": 0.2, "step": 0.5}
    )
    assert timing(found, batch_seqs=128, seq_len=4096, num_gpus=16).step_time_s == 4.0


def test_the_pipeline_engine_of_deepspeed(log):
    found = log(samples.DEEPSPEED_PIPELINE)
    assert found.software == "DeepSpeed"
    assert timing(found, 128, 4096, 16).step_time_s == 0.25


def test_megatron_deepspeed_prints_both_and_megatrons_lines_say_more(log):
    assert log(samples.DEEPSPEED + samples.MEGATRON).software == "Megatron-LM"


def test_nemo(log):
    found = log(samples.NEMO)
    assert found.software == "NeMo"
    assert found.allocated_bytes == 70e9
    timed = timing(found, 128, 4096, 16)
    assert (timed.step_time_s, timed.loss_last, timed.num_left_out) == (pytest.approx(12.3), 11.25, 1)


def test_a_progress_bar_that_rewrites_its_line(log):
    found = log(samples.NEMO_BAR)
    assert [(step.step, step.step_time_s) for step in found.steps] == [(0, 9.0), (1, 6.1)]


def test_a_run_that_started_again_counts_each_step_once(log):
    again = samples.MEGATRON + samples.MEGATRON.replace("2002.0", "2500.0")
    assert [step.step_time_s for step in log(again).steps] == pytest.approx([9.0, 2.1, 2.0, 2.5])


def test_the_log_of_another_batch_is_refused(log):
    with pytest.raises(BadInput, match="steps of 128 sequences, and the plan's batch=64"):
        timing(log(samples.MEGATRON), 64, 4096, 16)


def test_lines_of_a_growing_batch_are_taken_of_the_plans_batch_alone(log):
    line = " iteration {0:8d}/ 100 | elapsed time per iteration (ms): {1} | global batch size: {2} | lm loss: 9.0 |\n"
    found = log("".join(line.format(step, 1000 if step < 30 else 2000, 64 if step < 30 else 128) for step in range(60)))
    assert timing(found, 128, 4096, 16).step_time_s == 2.0
    assert timing(found, 64, 4096, 16).step_time_s == 1.0


@pytest.mark.parametrize("text", ["", "hello\n", "\x00\xff", "step: 3\n", "iteration 3/4 | loss: 2 |\n"])
def test_what_is_no_log_is_refused(log, text):
    with pytest.raises(BadInput, match="Valid: a log of Megatron-LM, torchtitan, NeMo, DeepSpeed"):
        log(text)


def test_lines_whose_numbers_are_none_are_no_times(log):
    found = log("[titan] step:  1  loss: nan  memory: 1.00GiB(1%)  tps: inf\n")
    assert found.steps[0].loss is None
    with pytest.raises(BadInput, match="no line says how long a step took"):
        timing(found, 128, 4096, 16)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match="cannot read"):
        read_log(tmp_path / "none.log")


@given(st.text())
def test_numbers_of_any_text_are_finite_or_none(text):
    assert number(text) is None or abs(number(text)) < float("inf")
    assert positive(text) is None or positive(text) > 0


@given(st.lists(st.sampled_from([*samples.MEGATRON, *samples.TORCHTITAN, *samples.DEEPSPEED]), max_size=300))
def test_no_line_breaks_the_reader(tmp_path_factory, characters):
    path = tmp_path_factory.mktemp("logs") / "any.log"
    path.write_text("".join(characters), encoding="utf-8")
    with contextlib.suppress(BadInput):
        assert read_log(path).steps


def test_the_sample_of_the_documentation_is_the_one_that_is_tested():
    sample = Path(__file__).parents[2] / "data" / "logs" / "megatron.log"
    assert sample.read_text(encoding="utf-8") == samples.MEGATRON
