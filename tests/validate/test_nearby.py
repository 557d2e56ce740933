"""The measured rows nearest to a question, and what lies beyond all of them."""

import numpy as np
import pytest

from walltime.plan import Plan
from walltime.validate.cases import Case, case_of
from walltime.validate.measured import read_measured, shipped_files
from walltime.validate.nearby import Neighbourhood
from walltime.validate.predict import predictions
from walltime.workload import Training
from walltime.workload.catalog import transformer

NEMO = {"framework": "NeMo 24.01"}
PLAN = Plan(tp=2, pp=2, dp=16)


@pytest.fixture
def around(csv_file):
    """The neighbourhood of LLaMA 13B on 64 A100 among rows that differ as given."""

    def make(*rows, model="llama-1-13b", seq_len=2048, plan=PLAN, accelerator="a100-sxm-80gb"):
        path = csv_file(*(NEMO | row for row in rows))
        return Neighbourhood(
            Training(transformer(model), seq_len, 2048), plan, accelerator, "megatron-core-2024", [path]
        )

    return make


def test_the_row_itself_is_nearest_and_at_almost_no_distance(around):
    found = around({"model_name": "LLaMA 13B two", "n_gpus": 128, "dp": 32}, {}).nearest()
    assert [near.case.num_gpus for near in found] == [64, 128]
    assert found[0].distance == pytest.approx(0, abs=0.2)  # but for the vocabulary
    assert found[1].distance > found[0].distance


def test_measured_and_predicted_are_those_of_the_case(around, csv_file):
    (near,) = around({"step_time_s": 31.5}).nearest()
    case = case_of(read_measured(csv_file(NEMO | {"step_time_s": 31.5}))[0])
    assert isinstance(case, Case)
    assert near.measured_s == 31.5
    assert near.predicted_s == predictions([case]).step_time_s[0]
    assert near.error == pytest.approx(near.predicted_s / 31.5 - 1)


FURTHER = {
    "another accelerator": {"gpu": "H100-80GB"},
    "another stack": {"framework": "torchtitan"},
    "another precision": {"precision": "fp16"},
    "more accelerators": {"n_gpus": 256, "dp": 64},
    "longer sequences": {"seq_len": 8192},
    "other tensor parallelism": {"tp": 4, "dp": 8},
}


@pytest.mark.parametrize("what", FURTHER)
def test_what_differs_is_further(around, what):
    far = FURTHER[what] | {"model_name": "LLaMA 13B far", "step_time_s": 99}
    found = around(far, {}).nearest()
    assert [near.measured_s for near in found] == [30.0, 99.0]


def test_rows_that_are_not_core_or_have_no_time_are_left_out(around):
    found = around({"scope": "hybrid_ssm"}, {"step_time_s": None}, {"step_time_s": 40}).nearest()
    assert [near.measured_s for near in found] == [40.0]


def test_one_row_for_a_source_model_precision_and_count(around):
    found = around({}, {"micro_batch": 2, "step_time_s": 29}, {"precision": "fp16"}).nearest()
    assert len(found) == 2


def test_nothing_is_nearby_where_there_are_no_rows(around):
    assert around({"step_time_s": None}).nearest() == []


BEYOND = {
    "accelerator": ({"accelerator": "l40s"}, "no shipped measurement is on l40s"),
    "precision": ({"plan": Plan(tp=2, pp=2, dp=16, precision="fp16")}, "is in fp16"),
    "experts": ({"model": "mixtral-8x7b"}, "is of a mixture of experts"),
    "parameters": (
        {"model": "llama-1-65b"},
        "6.53e+10 parameters: the shipped measurements on a100-sxm-80gb have at most",
    ),
    "accelerators": ({"plan": Plan(dp=256)}, "256 accelerators: the shipped measurements"),
    "few accelerators": (
        {"plan": Plan(dp=16)},
        "16 accelerators: the shipped measurements on a100-sxm-80gb have at least 64",
    ),
    "sequence": ({"seq_len": 8192}, "8,192 tokens a sequence: the shipped measurements"),
}


@pytest.mark.parametrize("what", BEYOND)
def test_what_no_row_covers_is_said(around, what):
    question, said = BEYOND[what]
    assert any(said in line for line in around({}, **question).beyond())


def test_within_the_rows_nothing_is_said(around):
    assert around({}).beyond() == []
    assert around({}, plan=Plan(dp=128)).beyond() == []


def test_the_nearest_of_the_shipped_rows_is_the_row_that_is_asked_about():
    rows = [row for path in shipped_files() for row in read_measured(path, strict=False)]
    rng = np.random.default_rng(3)
    asked = 0
    for index in rng.permutation(len(rows))[:12]:
        case = case_of(rows[index])
        if not isinstance(case, Case) or not case.is_core or not case.step_time_s:
            continue
        asked += 1
        near = Neighbourhood(case.training, case.plan, case.machine.accelerator, case.stack).nearest()[0]
        assert near.case.machine.accelerator == case.machine.accelerator
        assert near.case.stack == case.stack
        assert near.distance == pytest.approx(0)
    assert asked > 5
