"""The highest utilisation ever measured of a whole model: of which row, by which stack, and how it is computed."""

import pytest

from walltime.validate.cases import Case, read_cases
from walltime.validate.ceilings import measured_ceiling, measured_utilization
from walltime.validate.measured import CORE, shipped_files


@pytest.fixture(scope="module")
def cases():
    return read_cases(shipped_files())[0]


def test_one_row_by_hand(cases):
    """Llama 3.1 405B of NVIDIA's recipes: 6 x parameters and attention a token, over 989.4 TFLOP/s an H100."""
    case = next(c for c in cases if c.row.model_name == "Llama-3.1-405B" and "h100-sxm" in c.machine.accelerator)
    training, model = case.training, case.training.model
    layer = 2 * model.d_model**2 + 2 * model.d_model * model.num_kv_heads * 128 + 3 * model.d_model * model.d_ff
    matmul = 126 * layer + model.d_model * model.vocab_size
    attention = 126 * 2 * model.d_model * training.seq_len / 2  # scores and values, half of them masked
    flop = 6 * (matmul + attention) * training.batch_tokens
    peak = {"bf16": 989.4e12, "fp8": 1978.9e12}[case.plan.precision.split("-")[0]]
    by_hand = flop / (case.step_time_s * peak * case.num_gpus)
    assert measured_utilization(case) == pytest.approx(by_hand, rel=2e-3)
    assert 0.2 < by_hand < 0.7


@pytest.mark.parametrize(
    ("chip", "precision", "stack"),
    [
        ("h100-sxm", "bf16", "megatron-core"),
        ("h100-sxm", "fp8", "megatron-core"),
        ("h100-sxm", "bf16", "torchtitan"),
        ("a100-sxm-80gb", "bf16", "megatron-lm-2021"),
        ("b200", "bf16", "megatron-core"),
    ],
)
def test_ceiling_is_the_highest_of_its_rows(cases, chip, precision, stack):
    found = measured_ceiling(chip, precision, stack)
    assert found is not None
    alike = ("bf16", "fp16") if precision == "bf16" else (precision,)
    same = [c for c in cases if (c.machine.accelerator, c.row.scope) == (chip, CORE) and c.plan.precision in alike]
    assert found.case.machine.accelerator == chip
    assert found.case.plan.precision in alike
    own = [c for c in same if c.stack == stack]
    assert not own or found.of_stack
    assert found.utilization == pytest.approx(measured_utilization(found.case))
    assert found.utilization >= max((measured_utilization(c) for c in own), default=0)
    assert 0 < found.utilization < 1


def test_of_another_stack_where_there_are_no_rows(cases):
    """Nobody measured DeepSpeed on this accelerator: the ceiling is that of all stacks, and says so."""
    stacks = {c.stack for c in cases if c.machine.accelerator == "b200" and c.plan.precision == "bf16"}
    assert "deepspeed" not in stacks
    found = measured_ceiling("b200", "bf16", "deepspeed")
    assert not found.of_stack
    assert found.case.stack in stacks


def test_of_its_kin_where_there_are_no_rows():
    """Nobody measured today's Megatron-Core on an A100: the ceiling is that of its forebears."""
    found = measured_ceiling("a100-sxm-80gb", "bf16", "megatron-core")
    assert not found.of_stack
    assert "megatron" in found.case.stack


def test_no_rows_no_ceiling():
    assert measured_ceiling("tpu-v5p", "bf16", "megatron-core") is None
    assert measured_ceiling("h100-sxm", "nvfp4", "megatron-core") is None
    assert measured_ceiling("h100-sxm", "bf16", "megatron-core", paths=[]) is None


def test_no_measured_step_is_beyond_the_peak(cases):
    """A ceiling of more than all of the peak would be a mistaken row."""
    assert all(isinstance(c, Case) for c in cases)
    assert max(measured_utilization(c) for c in cases if c.step_time_s) < 0.9
