"""Calibrating machines whose numbers are known: each part is recovered, and the file is the machine everywhere."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.calibrate import synthetic

from walltime import hardware
from walltime.calibrate.machine.fit import calibrate
from walltime.calibrate.machine.quality import Holdout
from walltime.calibrate.machine.rows import read_machine
from walltime.catalog.calibrations import registered
from walltime.engines.calibration import Calibration, calibration
from walltime.problems import BadInput
from walltime.validate.cases import read_cases
from walltime.validate.predict import batch_step, case_batches, step_times_s

HALVES = Holdout(2, 0)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WALLTIME_CALIBRATIONS", str(tmp_path / "calibrations"))


def calibrated(folder, *tables, gpu=None, holdout=HALVES):
    """The calibration of these rows."""
    paths = []
    for i, table in enumerate(tables):
        paths.append(folder / f"rows-{i}.csv")
        paths[-1].write_text(synthetic.csv_of(table), encoding="utf-8")
    return calibrate(read_machine(paths, gpu), "my-cpu", holdout, "walltime calibrate").record


def quality(record):
    return {each.part: each for each in record.quality}


def test_kernels_of_a_processor_are_recovered(tmp_path):
    record = calibrated(tmp_path, synthetic.kernel_rows())
    found = quality(record)
    assert record.based_on == ""
    for part in ("matmul.fp32", "attention.forward", "attention.backward"):
        assert found[part].median_error < 0.03
        assert found[part].held_out_median_error < 0.06
    assert found["memory-bound"].median_error < 0.08  # its cache and its memory are one number
    fp32 = record.kernels.matmul["fp32"]
    peak = record.accelerator.peak_flop_per_s["fp32"]
    assert peak.value * fp32.values["max_efficiency"] == pytest.approx(synthetic.CPU_PEAK * 0.9, rel=0.05)
    assert peak.source == fp32.source == "my-cpu"
    assert fp32.low["half_k"] <= fp32.values["half_k"] <= fp32.high["half_k"]


def test_collectives_of_a_node_are_recovered(tmp_path):
    record = calibrated(tmp_path, synthetic.kernel_rows(), synthetic.collective_rows())
    (level,), (block,) = record.network.level, record.links.level
    assert level.size is None
    assert level.bytes_per_s.kind == "measured"
    ring = level.bytes_per_s.value * block.values["efficiency"]
    assert ring == pytest.approx(0.95 * synthetic.CPU_LINK.bytes_per_s, rel=0.15)
    assert block.values["start_s"] == pytest.approx(synthetic.CPU_LINK.start_s, rel=0.3)
    for part, each in quality(record).items():
        if part.endswith("(node)"):
            assert each.median_error < 0.05, part
            assert each.held_out_median_error < 0.1, part
    assert {part for part in quality(record) if part.endswith("(node)")} == {
        f"{name} (node)" for name in (*synthetic.COLLECTIVES, "sendrecv")
    }


def steps_of(folder, rows):
    """Training rows with the times that a machine of known numbers takes."""
    draft = calibrated(folder, synthetic.kernel_rows(), synthetic.collective_rows())
    path = folder / "steps.csv"
    path.write_text(synthetic.csv_of(rows), encoding="utf-8")
    with registered(draft):
        cases, skipped = read_cases([path], on=draft)
        assert not skipped
        times_s = np.empty(len(cases))
        for batch in case_batches(cases):
            known = calibration(batch.cluster, batch.stack.id)
            numbers = Calibration(batch.cluster, known.links, known.kernels, synthetic.CHIP, synthetic.STACK)
            times_s[batch.index] = batch_step(batch, numbers).time_s
    return [row | {"step_time_s": repr(float(time_s))} for row, time_s in zip(rows, times_s, strict=True)]


def test_training_steps_of_a_processor_are_recovered(tmp_path):
    steps = steps_of(tmp_path, synthetic.training_rows())
    record = calibrated(tmp_path, synthetic.kernel_rows(), synthetic.collective_rows(), steps)
    found = quality(record)["step time"]
    assert found.rows == len(steps)
    assert found.median_error < 0.02
    assert found.held_out_median_error < 0.04
    assert found.median_error_before is None
    stack = record.stack["pytorch"]
    for name in ("kernel_gap_s", "step_s", "microbatch_s", "dp_factor"):
        assert name not in stack.estimated
        assert stack.low[name] / 1.2 <= getattr(synthetic.STACK, name) <= stack.high[name] * 1.2
    assert "overlap_ep" in stack.estimated
    assert "sustained_8bit" in record.chip.estimated


def test_half_of_the_steps_predict_the_other_half(tmp_path):
    steps = steps_of(tmp_path, synthetic.training_rows()[::2])
    tables = synthetic.kernel_rows(), synthetic.collective_rows(), steps[::2]
    record = calibrated(tmp_path, *tables, holdout=Holdout(0, 0))
    path = tmp_path / "others.csv"
    path.write_text(synthetic.csv_of(steps[1::2]), encoding="utf-8")
    with registered(record):
        cases, _ = read_cases([path], on=record)
        predicted_s = step_times_s(case_batches(cases), len(cases))
    errors = np.abs(predicted_s / np.array([case.step_time_s for case in cases]) - 1)
    assert np.median(errors) < 0.05


def test_few_steps_move_little(tmp_path):
    steps = steps_of(tmp_path, synthetic.training_rows()[:1])
    record = calibrated(tmp_path, synthetic.kernel_rows(), synthetic.collective_rows(), steps)
    stack = record.stack["pytorch"]
    assert stack.rows == 1
    assert {"tp_factor", "overlap_dp", "host_layer_s"} <= set(stack.estimated)
    assert quality(record)["step time"].held_out_median_error is None


def test_a_gpu_of_the_catalog_keeps_its_datasheet_and_what_rows_leave_open(tmp_path):
    rows = [
        {"gpu": "NVIDIA H100 80GB HBM3", "op": "gemm", "dtype": "bf16", "m": m, "n": n, "k": n, "source_id": "walltime",
         "latency_ms": 2 * m * n * n / 6e14 * 1e3 + 4e-3}
        for m in (256, 1024, 4096, 16384) for n in (1024, 4096, 8192)
    ]  # fmt: skip
    record = calibrated(tmp_path, rows)
    assert record.based_on == "h100-sxm"
    assert record.accelerator.aliases == ["NVIDIA H100 80GB HBM3"]
    assert record.accelerator.peak_flop_per_s["bf16"].kind == "datasheet"
    assert record.kernels.matmul["fp8"].source == "aiconfigurator2026"
    assert record.kernels.matmul["bf16"].source == "my-cpu"
    assert record.chip is None
    assert record.stack == {}
    assert record.draw is None
    found = quality(record)["matmul.bf16"]
    assert found.median_error_before > found.median_error
    with registered(record):
        cluster = hardware.cluster("my-cpu", 8)
        assert cluster.network.level_sizes == (8,)
        mine, usual = calibration(cluster, "generic"), calibration(hardware.cluster("h100-sxm", 8), "generic")
    assert mine.chip == usual.chip
    slower = record.kernels.matmul["bf16"].values["max_efficiency"] / usual.kernels.matmul["bf16"].max_efficiency
    shape = (16384, 8192, 8192)
    ratio = usual.matmul_time_s(*shape, "bf16") / mine.matmul_time_s(*shape, "bf16")
    assert ratio == pytest.approx(slower, rel=0.02)


def test_power_is_fitted_where_it_was_measured(tmp_path):
    limit_w, draws = 700.0, {"gemm": 0.8, "copy": 0.55, "launch": 0.15}
    usual = {"gpu": "NVIDIA H100 80GB HBM3", "dtype": "bf16", "m": "", "n": "", "k": "", "num_bytes": ""}
    shapes = {"gemm": {"m": 8192, "n": 8192, "k": 8192}, "copy": {"num_bytes": 2**32}, "launch": {}}
    times_ms = {"gemm": 1.8, "copy": 1.6, "launch": 0.004}
    rows = [
        usual | {"op": op, "latency_ms": times_ms[op] * scale, "power_w": limit_w * draw} | shapes[op]
        for op, draw in draws.items()
        for scale in (1, 1.01, 1.02, 1.03, 1.04)
    ]
    record = calibrated(tmp_path, rows)
    assert record.draw.compute_share.value == pytest.approx(0.8, rel=0.03)
    assert record.draw.memory_bound_share.value == pytest.approx(0.55, rel=0.03)
    assert record.draw.idle_share.value == pytest.approx(0.15, rel=0.03)
    assert record.draw.communication_share is None
    assert quality(record)["power"].median_error < 0.01


def test_power_of_training_steps_is_shared_out_over_their_parts(tmp_path):
    llama = {"n_layers": 32, "d_model": 4096, "d_ff": 14336, "n_heads": 32, "n_kv_heads": 8, "vocab": 128256}
    usual = {"model_name": "Llama-3.1-8B", "gpu": "H100-SXM-80GB", "gpus_per_node": 8, "n_gpus": 8, "tp": 1, "pp": 1}
    usual |= llama | {"dp": 8, "sharding": "zero3", "precision": "bf16", "framework": "torchtitan", "notes": ""}
    usual |= {"activation_recompute": "selective", "seq_len": 8192, "global_batch_seqs": 8, "micro_batch": 1}
    rows = [usual | {"step_time_s": 1.3 + 0.01 * i, "power_w": 610} for i in range(6)]
    record = calibrated(tmp_path, rows)
    assert record.based_on == "h100-sxm"
    found = quality(record)
    assert found["step time"].median_error_before > found["step time"].median_error
    assert found["power"].rows == 6
    assert found["power"].median_error < found["power"].median_error_before
    assert record.draw.communication_share is None


def test_environments_are_kept_and_say_how_much_memory_there_is(tmp_path):
    manifest = {"host_memory_bytes": 32e9, "ranks_per_node": 2, "num_threads": 1, "torch": "2.13.0", "driver": None}
    (tmp_path / "environments.json").write_text(json.dumps({"abc": manifest, "other": {}}), encoding="utf-8")
    record = calibrated(tmp_path, synthetic.kernel_rows(environment="abc"))
    assert [each["id"] for each in record.origin.environments] == ["abc"]
    assert record.accelerator.hbm_bytes.value == record.usable_bytes.value == 16e9
    assert record.accelerator.num_sms.value == 1


@pytest.mark.parametrize("content", ["not JSON", "[1, 2]", '"text"', "{}"])
def test_environments_that_are_none_do_no_harm(tmp_path, content):
    (tmp_path / "environments.json").write_text(content, encoding="utf-8")
    assert calibrated(tmp_path, synthetic.kernel_rows(environment="abc")).origin.environments == []


def test_no_rows_are_held_out_if_nobody_asks(tmp_path):
    record = calibrated(tmp_path, synthetic.kernel_rows(), holdout=Holdout(0, 0))
    assert all(each.held_out_median_error is None and each.held_out == "" for each in record.quality)


def test_a_processor_needs_kernels(tmp_path):
    with pytest.raises(BadInput, match=r"matmuls were not measured.*walltime measure gemm"):
        calibrated(tmp_path, synthetic.training_rows())
    only_matmuls = [row for row in synthetic.kernel_rows() if row["op"] == "gemm"]
    with pytest.raises(BadInput, match="memory-bound kernels were not measured"):
        calibrated(tmp_path, only_matmuls)


def test_rows_of_several_accelerators_need_a_choice(tmp_path):
    tables = synthetic.kernel_rows(), synthetic.kernel_rows(gpu="NVIDIA A100-SXM4-80GB")
    with pytest.raises(BadInput, match=r"rows of 2 accelerators.*--gpu"):
        calibrated(tmp_path, *tables)
    with pytest.raises(BadInput, match="unknown --gpu 'h200'"):
        calibrated(tmp_path, *tables, gpu="h200")
    for gpu in ("a100-sxm-80gb", "nvidia a100-sxm4-80gb"):
        assert calibrated(tmp_path, *tables, gpu=gpu).based_on == "a100-sxm-80gb"
    assert calibrated(tmp_path, *tables, gpu=synthetic.CPU_NAME).based_on == ""


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(BadInput, match="its header is of no measured rows"):
        read_machine([path])


def across_nodes(gpu, slow):
    """Collectives of four nodes of two processes: one process of each, and all of them."""
    levels = [synthetic.CPU_LINK, slow]
    return [
        {"source_id": "walltime", "gpu": gpu, "collective": name, "n_gpus": 4 * inside, "n_nodes": 4}
        | {"gpus_per_node": 2, "size_bytes": size, "latency_us": function(size, levels, (inside, 4)).item() * 1e6}
        | {"busbw_GBps": "", "notes": "", "dtype": "fp32"}
        for name, function in synthetic.COLLECTIVES.items()
        for inside in (1, 2)
        for size in (2**12, 2**16, 2**20, 2**24)
    ]


def test_nodes_and_what_joins_them_are_two_levels(tmp_path):
    slow = replace(synthetic.CPU_LINK, bytes_per_s=1e9)
    tables = synthetic.collective_rows(ranks=(2,)), across_nodes(synthetic.CPU_NAME, slow)
    record = calibrated(tmp_path, synthetic.kernel_rows(), *tables)
    node, network = record.network.level
    assert (node.name, node.size, network.name, network.size) == ("node", 2, "network", None)
    assert network.bytes_per_s.value < node.bytes_per_s.value
    assert network.bytes_per_s.value == pytest.approx(0.95e9, rel=0.15)
    found = quality(record)
    for name in synthetic.COLLECTIVES:
        assert found[f"{name} (node)"].median_error < 0.05
        assert found[f"{name} (network)"].median_error < 0.1
    with registered(record):
        assert hardware.cluster("my-cpu", 8).network.level_sizes == (2,)


def test_smaller_nodes_of_a_gpu_of_the_catalog_are_their_own(tmp_path):
    rows = across_nodes("NVIDIA H100 80GB HBM3", replace(synthetic.CPU_LINK, bytes_per_s=1e9))
    record = calibrated(tmp_path, rows)
    assert [level.size for level in record.network.level] == [2, None]
    assert record.network.level[1].bytes_per_s.kind == "datasheet"
    assert record.links.level[0].source == "collectives2026"
    assert record.links.level[1].source == "my-cpu"
