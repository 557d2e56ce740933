"""Estimates on a calibrated machine stand on its numbers, and as soon as they are written anew, on the new ones."""

import msgspec
import pytest

import walltime as wt
from walltime import hardware
from walltime.api import usual_stack
from walltime.catalog import Number
from walltime.catalog.calibrations import registered
from walltime.engines.calibration import calibration
from walltime.engines.pessimism import pessimistic
from walltime.engines.transformer import usable_bytes
from walltime.hardware import Cluster, cluster_from_file, override
from walltime.problems import BadInput

from .machines import cpu, fitted, gpu, guessed, written

LLAMA = wt.model("llama-2-7b")
PLAN = wt.Plan(dp=16, sharding="zero3")


def step(on: Cluster | str, plan: wt.Plan = PLAN, **how):
    machine = wt.cluster(on, num_gpus=16) if isinstance(on, str) else on
    return wt.estimate(LLAMA, machine, plan, batch_seqs=64, **how)


def time_s(on, plan=PLAN, **how):
    return float(step(on, plan, **how).time_s[0])


def test_the_catalogs_numbers_under_another_name_make_the_same_step(keep):
    path = keep(gpu())
    usual = step("h100-sxm")
    for name in ("my-h100", str(path), "NVIDIA Made-up H100"):
        found = step(name)
        assert found.time_s == usual.time_s
        assert found.needed_bytes == usual.needed_bytes
        assert found.memory_capacity_bytes == usual.memory_capacity_bytes
        assert found.utilization == usual.utilization


def test_kin_sustains_the_same_rate_whatever_its_kernels_reach_in_bursts(keep):
    """As the H200 and the H100 do, whose burst was measured by different people."""
    keep(gpu("my-h200", "h200"))
    here, there = (calibration(wt.cluster(name), "megatron-core") for name in ("my-h200", "h200"))
    assert here.kin_burst == there.kin_burst != 1
    assert here.chip == there.chip


def test_what_it_sustains_is_its_own(keep):
    keep(gpu(chip=fitted("my-h100", sustained=0.4)))
    numbers, usual = (calibration(wt.cluster(name), "fsdp1") for name in ("my-h100", "h100-sxm"))
    assert numbers.chip.sustained == 0.4
    assert numbers.kin_burst == 1
    assert numbers.chip.memory_efficiency == usual.chip.memory_efficiency
    assert numbers.stack == usual.stack
    assert time_s("my-h100") > 1.5 * time_s("h100-sxm")


def test_what_software_adds_there_is_its_own_for_that_software_only(keep):
    keep(gpu(stack={"pytorch": fitted("my-h100", step_s=5.0)}))
    more = time_s("my-h100", stack="pytorch") - time_s("h100-sxm", stack="pytorch")
    assert more == pytest.approx(5, abs=0.1)
    assert time_s("my-h100", stack="fsdp1") == time_s("h100-sxm", stack="fsdp1")


def test_its_memory_is_what_was_seen_there(keep):
    keep(gpu(usable_bytes=guessed(7e10)))
    assert usable_bytes(wt.cluster("my-h100")) == 7e10
    assert usable_bytes(wt.cluster("my-h100", settings=["accelerator.memory=0.5x"])) == 3.5e10
    keep(gpu())
    assert usable_bytes(wt.cluster("my-h100")) == usable_bytes(wt.cluster("h100-sxm"))


def test_a_calibration_written_anew_is_never_served_stale(keep):
    """Kernels, links, what the chip sustains, the accelerator and the network: none is remembered by name alone."""
    keep(gpu())
    before = time_s("my-h100")
    own = gpu()
    slow = {
        name: msgspec.structs.replace(one, values=one.values | {"max_efficiency": 0.1})
        for name, one in own.kernels.matmul.items()
    }
    keep(gpu(kernels=msgspec.structs.replace(own.kernels, matmul=slow)))
    assert time_s("my-h100") > 3 * before
    keep(gpu(chip=fitted("my-h100", sustained=0.1)))
    assert time_s("my-h100") > 3 * before
    late = [msgspec.structs.replace(one, values=one.values | {"start_s": 1.0}) for one in own.links.level]
    keep(gpu(links=msgspec.structs.replace(own.links, level=late)))
    assert time_s("my-h100") > 3 * before
    fast = own.accelerator.peak_flop_per_s | {"bf16": Number(value=1e16, kind="derived", note="made up")}
    keep(gpu(accelerator=msgspec.structs.replace(own.accelerator, peak_flop_per_s=fast)))
    assert time_s("my-h100") < before / 2
    keep(gpu())
    assert time_s("my-h100") == before


def test_a_draft_is_estimated_on_without_a_file(keep):
    keep()
    with registered(gpu(chip=fitted("my-h100", sustained=0.4))):
        slow = time_s("my-h100")
    with registered(gpu()):
        assert slow > 1.5 * time_s("my-h100")
    with pytest.raises(BadInput, match="unknown accelerator or cluster 'my-h100'"):
        wt.cluster("my-h100")


def test_settings_are_multiples_of_its_own_numbers(keep):
    keep(gpu(), cpu())
    for setting in ("accelerator.peak=2x", "network.bandwidth=0.5x", "accelerator.achievable_fraction=0.5x"):
        here, there = (override(hardware.cluster(name, 16), [setting]) for name in ("my-h100", "h100-sxm"))
        assert time_s(here) == time_s(there) != time_s("h100-sxm")


def test_a_clusters_own_network_takes_the_numbers_of_the_calibrations(keep, tmp_path):
    """A user's cluster file whose accelerator was calibrated: levels are those of nearest bandwidth measured there."""
    keep(gpu())
    file = tmp_path / "three.toml"
    levels = "".join(
        f'[[level]]\nname = "{name}"\nbandwidth = "{rate}GB/s"\nlatency = "1us"\n{size}'
        for name, rate, size in (("a", 450, "size = 8\n"), ("b", 100, "size = 4\n"), ("c", 50, ""))
    )
    for chip in ("my-h100", "h100-sxm"):
        file.write_text(f'accelerator = "{chip}"\n{levels}')
        found = cluster_from_file(file).with_num_gpus(16)
        assert found.accelerator.id == chip
        assert time_s(found) == pytest.approx(time_s(wt.cluster(str(file), num_gpus=16)), rel=1e-12)


def test_a_calibrations_path_has_no_other_numbers(tmp_path):
    path = written(tmp_path, gpu())
    with pytest.raises(BadInput, match=r"numbers of its own, not those of Erdil2024\. Valid: datasheet\.$"):
        wt.cluster(str(path), parameters="Erdil2024")


def test_a_processor_computes_in_the_formats_that_were_measured(keep):
    keep(cpu())
    four = wt.cluster("my-cpu", num_gpus=4)
    plan = wt.Plan(dp=4, sharding="zero3", precision="fp32")
    small = wt.model("gpt2")
    found = wt.estimate(small, four, plan, batch_seqs=8, stack="pytorch")
    assert found.numbers.stack.host_layer_s == 2e-3
    assert found.peak_flop_per_s == 4e10
    assert 0 < found.utilization[0] < 1
    with pytest.raises(BadInput, match=r"^precision=bf16 needs bf16, which the accelerator lacks\. Valid: fp32\.$"):
        wt.estimate(small, four, wt.Plan(dp=4), batch_seqs=8, stack="generic")
    best = wt.search(small, four, batch_seqs=8, stack="pytorch").recommended
    assert best.plan.precision == "fp32"
    assert best.time_s <= found.time_s[0]


def test_kernels_that_the_engine_does_not_know_are_refused(keep):
    strange = msgspec.structs.replace(gpu().kernels, matmul={"bf16": fitted("my-h100", max_efficiency=0.5, speed=1.0)})
    keep(gpu(kernels=strange))
    with pytest.raises(BadInput, match=r"calibration my-h100, kernels: .*speed"):
        time_s("my-h100")


def test_the_bad_end_of_its_ranges_is_slower(keep):
    block = msgspec.structs.replace(fitted("my-h100", sustained=0.8), low={"sustained": 0.4}, high={"sustained": 0.9})
    keep(gpu(chip=block))
    machine = wt.cluster("my-h100", num_gpus=16)
    assert pessimistic(machine, "fsdp1").chip.sustained == pytest.approx(0.4)


def test_limits_of_the_theory_know_it(keep):
    keep(gpu())
    curves = (wt.limits(wt.cluster(name, parameters="datasheet")) for name in ("my-h100", "h100-sxm"))
    here, there = ([row | {"accelerator": ""} for row in curve.to_rows()] for curve in curves)
    assert here == there


def test_the_software_that_machines_were_measured_with_is_their_usual_one(keep):
    keep(gpu(stack={"pytorch": fitted("my-h100", step_s=0.02)}))
    measured, other = wt.cluster("my-h100", num_gpus=16), wt.cluster("h100-sxm", num_gpus=16)
    assert usual_stack([measured]) == "pytorch"
    assert usual_stack([measured, other]) == usual_stack([other]) == "megatron-core"
    assert time_s("my-h100") == time_s("my-h100", stack="pytorch") != time_s("my-h100", stack="megatron-core")
