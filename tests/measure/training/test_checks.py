"""What is not run is refused in one line, before any process starts."""

from dataclasses import replace

import pytest

from walltime.measure.training.checks import check_request
from walltime.plan import Plan
from walltime.problems import BadInput
from walltime.workload import Training
from walltime.workload.catalog import transformer

from . import tiny

FP32 = tiny.FP32
MOE = {"num_experts": 4, "top_k": 2, "d_ff_expert": 24}


@pytest.mark.parametrize("plans", tiny.PLANS.values())
def test_plans_of_the_tests_are_run(plans):
    for plan in plans.values():
        check_request(tiny.request(plan), plan.num_gpus, "cpu")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "fp16"}, "precision=fp16 is not run here. Valid: bf16, fp32."),
        ({"sharding": "zero1"}, "sharding=zero1 is not run here. Valid: ddp, zero3."),
        ({"pp": 2, "schedule": "zb-h1"}, "schedule=zb-h1 is not run here. Valid: 1f1b, gpipe."),
        ({"pp": 8}, "more than layers, embedding and output layer"),
        ({"pp": 4, "vpp": 2}, "makes more chunks"),
        ({"pp": 2, "micro_batch": 8}, "1 microbatches are too few for schedule=1f1b with pp=2"),
        ({"tp": 3}, "tp=3 does not divide num_heads=4"),
        ({"tp": 4}, "tp=4 does not divide num_kv_heads=2. Nearest: 2."),
        ({"dp": 3}, "dp=3 does not divide batch_seqs=8"),
        ({"cp": 2}, "cp=2 needs GPUs"),
        ({"ep": 2}, "needs experts"),
        ({"offload_optimizer": True}, "offload_optimizer=true is not run here"),
        ({"gradient_bytes": 2}, "gradient_bytes=2 is not run here. Valid: 0, 4."),
        ({"order": ("dp", "tp", "cp", "ep", "pp")}, "order=dp,tp,cp,ep,pp is not run here"),
    ],
)
def test_plans_that_are_not_run(changes, said):
    with pytest.raises(BadInput, match=r"(?s)^[^\n]*$") as refusal:
        check_request(tiny.request(replace(Plan(**FP32), **changes)), None, "cpu")
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("dimensions", "plan", "said"),
    [
        ({"num_mtp_layers": 1}, {}, "num_mtp_layers=1 is not run here"),
        ({"norms_per_layer": 3}, {}, "norms_per_layer=3 is not run here. Valid: 1, 2, 4."),
        ({"norms_per_layer": 1}, {}, "needs parallel_attention"),
        ({"position": "learned", "num_positions": 8}, {}, "seq_len=16 is more than the 8 positions"),
        ({"position": "learned"}, {}, "needs num_positions"),
        ({"head_dim": 9}, {}, "head_dim=9 must be even"),
        ({"qk_norm_dim": 5}, {}, "qk_norm_dim=5 is not run here. Valid: 8."),
        ({"tied_embeddings": True}, {"pp": 2}, "on two stages. Valid: pp=1"),
        (MOE, {"tp": 2}, "tp=2 is not run here for a mixture of experts"),
        (MOE, {"dp": 2, "ep": 2}, "ep=2 is not run here. Valid: 1."),
        ({"attention_sinks": True}, {"tp": 2}, "for attention sinks"),
        ({"position": "alibi"}, {"cp": 2}, "cp=2 is not run here with position=alibi"),
        ({"sliding_window": 4, "num_sliding_layers": 2}, {"cp": 2}, "with sliding windows"),
    ],
)
def test_models_that_are_not_run(dimensions, plan, said):
    training = replace(tiny.TRAINING, model=replace(tiny.MODEL, **dimensions))
    with pytest.raises(BadInput, match=r"(?s)^[^\n]*$") as refusal:
        check_request(tiny.request(Plan(**FP32, **plan), training))
    assert said in str(refusal.value)


def test_as_many_processes_as_the_plan_has():
    with pytest.raises(BadInput, match=r"the plan has 2 processes .* but 4 run"):
        check_request(tiny.request(Plan(dp=2, **FP32)), 4)


@pytest.mark.parametrize(
    "name", ["llama-3.1-405b", "mixtral-8x7b", "bloom-176b", "gpt3-175b", "deepseek-v2", "kimi-k2"]
)
def test_catalog_models_are_run(name):
    model = transformer(name)
    training = Training(model, model.num_positions or 4096, 64)
    check_request(tiny.request(Plan(dp=8, sharding="zero3"), training))
    if not (model.is_moe or model.is_latent):
        check_request(tiny.request(Plan(dp=8, tp=8, sharding="zero3"), training))
