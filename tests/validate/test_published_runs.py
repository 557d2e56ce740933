"""Famous runs beside our prediction."""

import csv

import pytest

from walltime.catalog import data_root
from walltime.plan import Plan
from walltime.validate.published_runs import published_run
from walltime.workload import Training
from walltime.workload.catalog import transformer
from walltime.workload.parameters import num_parameters

RUNS = sorted((data_root() / "published" / "runs").glob("*.csv"))
ROWS = [row for path in RUNS for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
TABLE_4 = [(8192, 64, 8192, 1, 430), (16384, 128, 8192, 1, 400), (16384, 8, 131072, 16, 380)]
"""Grattafiori et al. 2024, table 4: accelerators, dp, tokens a sequence, cp, TFLOP/s an accelerator."""
COMMAND = "estimate llama-3.1-405b --on 16384xh100-sxm --tp 8 --pp 16 --vpp 8 --seq-len 8192 --batch 2048 --json"


def asked(dp, seq_len, cp, **changes):
    training = Training(transformer("llama-3.1-405b"), seq_len, 2**24 // seq_len)
    return training, Plan(tp=8, cp=cp, pp=16, dp=dp, **changes)


@pytest.mark.parametrize(("gpus", "dp", "seq_len", "cp", "tflops"), TABLE_4)
def test_a_step_is_what_the_printed_flop_per_second_mean(gpus, dp, seq_len, cp, tflops):
    training, plan = asked(dp, seq_len, cp)
    found = published_run(training, plan, "h100-sxm")
    model = training.model
    embedding = model.vocab_size * model.d_model
    flop = 6 * (num_parameters(model) - embedding) + 12 * model.num_layers * model.d_model * seq_len
    assert found.num_gpus == plan.num_gpus == gpus
    assert found.step_time_s == pytest.approx(training.batch_tokens * flop / (gpus * tflops * 1e12), rel=1e-3)


def test_the_printed_utilisation_agrees_with_the_printed_flop_per_second():
    for row in (row for row in ROWS if row["mfu"]):
        assert float(row["mfu"]) == pytest.approx(float(row["model_tflops_per_gpu"]) / 989.4, abs=0.011)


@pytest.mark.parametrize(
    "other", [{"accelerator": "h200"}, {"dp": 32}, {"seq_len": 4096}, {"micro_batch": 2}, {"vpp": 4, "sharding": "ddp"}]
)
def test_only_the_same_run_is_shown(other):
    values = {"accelerator": "h100-sxm", "dp": 128, "seq_len": 8192, "cp": 1, **other}
    training, plan = asked(**{name: value for name, value in values.items() if name != "accelerator"})
    is_same = "vpp" in other or "micro_batch" in other  # which the paper does not print
    assert (published_run(training, plan, values["accelerator"]) is not None) == is_same


def test_estimate_shows_it_beside_the_prediction(walltime):
    document = walltime(*COMMAND.split()).json()
    assert document["published_run"]["model_tflops_per_gpu"] == 400
    assert document["published_run"]["utilization"] == 0.41
    shown = walltime(*COMMAND.replace(" --json", "").split()).out
    assert "this run as published" in shown
    assert "MFU 41%, 400 TFLOP/s an accelerator" in shown


def test_every_file_is_listed_with_its_source():
    listed = (RUNS[0].parent / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in RUNS if f"`{path.name}`" not in listed] == []
    bib = (data_root() / "sources.bib").read_text(encoding="utf-8")
    assert all(f"{{{row['source_id']}," in bib for row in ROWS)
