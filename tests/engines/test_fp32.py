"""Plans in 32 bits: everything that is moved is twice as wide, but what was in 32 bits before."""

import dataclasses

import numpy as np
import pytest

from walltime import hardware
from walltime.engines.calibration import calibration
from walltime.engines.stack import stack
from walltime.engines.transformer import estimate
from walltime.plan import Plan, PlanBatch
from walltime.workload import Training
from walltime.workload.catalog import transformer

H100 = hardware.cluster("h100-sxm")
ACTIVATIONS = ("attention_activations", "mlp_activations", "norm_activations", "checkpoints", "embedding_activations")


def step(precision, stack_id="generic", model="llama-2-7b", batch=64, **plan):
    plans = PlanBatch.of([Plan(precision=precision, **plan)])
    return estimate(Training(transformer(model), 4096, batch), H100, plans, stack(stack_id))


def both(**how):
    return step("bf16", **how), step("fp32", **how)


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize("model", ["llama-2-7b", "gpt3-6.7b", "mixtral-8x7b"])
def test_activations_take_twice_the_memory(model, recompute):
    narrow, wide = both(model=model, dp=16, sharding="zero3", recompute=recompute)
    for name in ACTIVATIONS:
        assert wide.memory_bytes[name][0] == pytest.approx(2 * narrow.memory_bytes[name][0], rel=0.03), name


@pytest.mark.parametrize("sharding", ["ddp", "zero1", "zero3"])
def test_state_has_no_second_copy_of_the_weights(sharding):
    narrow, wide = both(dp=16, sharding=sharding)
    assert wide.memory_bytes["weights"][0] == 2 * narrow.memory_bytes["weights"][0]
    assert wide.memory_bytes["gradients"][0] == narrow.memory_bytes["gradients"][0]
    assert wide.memory_bytes["optimizer"][0] == pytest.approx(narrow.memory_bytes["optimizer"][0] * 8 / 12)
    assert 0.9 < wide.parts_s["optimizer"][0] / narrow.parts_s["optimizer"][0] < 1


def test_a_stack_that_keeps_only_a_master_copy_keeps_the_weights():
    narrow, wide = both(stack_id="pytorch", dp=16, sharding="zero3")
    assert narrow.memory_bytes["weights"][0] == 0, "they are among what the optimizer keeps"
    state = ("weights", "gradients", "optimizer")
    assert sum(wide.memory_bytes[name][0] for name in state) == pytest.approx(
        sum(narrow.memory_bytes[name][0] for name in state)
    )


def test_messages_are_twice_as_long():
    narrow, wide = both(dp=4, tp=4, sharding="zero1", batch=256)
    assert 1.7 < wide.busy_s["tp_comm"][0] / narrow.busy_s["tp_comm"][0] <= 2
    narrow, wide = both(dp=4, cp=4, sharding="zero1")
    assert 1.7 < wide.busy_s["cp_comm"][0] / narrow.busy_s["cp_comm"][0] <= 2
    narrow, wide = both(dp=4, pp=4, sharding="zero1")
    assert 1.7 < wide.busy_s["pp_comm"][0] / narrow.busy_s["pp_comm"][0] <= 2
    narrow, wide = both(model="mixtral-8x7b", dp=16, ep=8, sharding="zero1")
    assert 1.7 < wide.busy_s["ep_comm"][0] / narrow.busy_s["ep_comm"][0] <= 2


def test_gathered_weights_are_twice_as_long_and_reduced_gradients_as_before():
    narrow, wide = both(dp=16, sharding="zero3")
    assert 1.2 < wide.busy_s["dp_comm"][0] / narrow.busy_s["dp_comm"][0] < 2
    narrow, wide = both(dp=16, sharding="ddp")
    assert wide.busy_s["dp_comm"][0] == narrow.busy_s["dp_comm"][0]


@pytest.mark.parametrize("attention", ["unfused", "fused-softmax", "flash2"])
def test_a_step_takes_longer(attention):
    software = dataclasses.replace(stack("generic"), attention=attention)
    training = Training(transformer("llama-2-7b"), 2048, 64)
    narrow, wide = (
        estimate(training, H100, PlanBatch.of([Plan(dp=16, precision=name)]), software) for name in ("bf16", "fp32")
    )
    for name, part in narrow.parts_s.items():
        if name == "host":  # waits less for the host the longer its kernels take
            continue
        assert wide.parts_s[name][0] >= part[0] * (0.94 if name == "optimizer" else 1 - 1e-12), name
    assert wide.memory_bytes.keys() == narrow.memory_bytes.keys()


def test_memory_bound_kernels_move_twice_the_bytes_but_those_in_32_bits_already():
    narrow, wide = both(dp=16)
    assert 1.5 < wide.parts_s["memory_bound"][0] / narrow.parts_s["memory_bound"][0] < 2


def test_the_peak_is_that_of_32_bits_and_the_efficiency_that_of_16_where_none_was_measured():
    numbers = calibration(H100, "generic")
    kernel, peak = numbers.kernels.of("fp32")
    assert kernel == numbers.kernels.of("bf16")[0]
    assert peak == numbers.kernels.peak_flop_per_s["fp32"] < numbers.kernels.of("bf16")[1] / 10
    large = [float(numbers.matmul_time_s(8192, 8192, 8192, name)) for name in ("bf16", "fp32")]
    assert large[1] / large[0] == pytest.approx(numbers.kernels.of("bf16")[1] / peak, rel=0.01)


def test_it_never_reaches_more_than_its_peak():
    found = step("fp32", dp=16, sharding="zero3")
    assert np.all(found.utilization < 1)
    assert found.peak_flop_per_s == H100.accelerator.peak_flop_per_s / 989.4e12 * 66.9e12
