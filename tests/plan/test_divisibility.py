"""Plans that cannot be are refused by field, value and nearest valid; unusual ones are allowed with a word."""

from dataclasses import replace

import pytest

from walltime import hardware
from walltime.engines.calibration import calibration
from walltime.engines.compatibility import check_stack
from walltime.engines.stack import stack
from walltime.plan import Plan, check_plan, divisors, plan_warnings
from walltime.plan.divisibility import nearest
from walltime.problems import BadInput
from walltime.workload import Training
from walltime.workload.catalog import transformer

LLAMA = Training(transformer("llama-3.1-405b"), 8192, 2048)
DEEPSEEK = Training(transformer("deepseek-v3"), 4096, 1024)
MIXTRAL = Training(transformer("mixtral-8x7b"), 4096, 1024)
GPT = Training(transformer("gpt3-175b"), 2048, 1536)
CLUSTER = hardware.cluster("h100-sxm")


def check(training, plan):
    check_plan(plan, training, CLUSTER)


@pytest.mark.parametrize(
    ("training", "plan"),
    [
        (LLAMA, Plan(tp=8, pp=16, dp=128)),
        (LLAMA, Plan(tp=8, pp=16, dp=128, vpp=8)),
        (LLAMA, Plan(tp=16, pp=16, dp=64)),
        (LLAMA, Plan(tp=8, cp=16, pp=16, dp=8)),
        (LLAMA, Plan(tp=8, pp=64, dp=32, schedule="zb-v")),
        (LLAMA, Plan(dp=2048, sharding="zero3", shard=64)),
        (DEEPSEEK, Plan(tp=1, pp=16, dp=128, ep=64, schedule="dualpipe")),
        (MIXTRAL, Plan(tp=2, dp=64, ep=8, etp=2)),
        (GPT, Plan(tp=8, pp=12, dp=192)),
    ],
)
def test_plans_that_are_run_pass(training, plan):
    check(training, plan)


REFUSED = [
    (LLAMA, {"tp": 7}, "tp=7 does not divide num_heads=128. Nearest: 4, 8."),
    (LLAMA, {"tp": 256}, "tp=256 does not divide num_heads=128. Nearest: 128."),
    (LLAMA, {"cp": 3}, "cp=3 does not divide half of seq_len=4096. Nearest: 2, 4."),
    (replace(LLAMA, seq_len=9), {"cp": 4}, "cp=4 halves sequences, but seq_len=9 is odd. Valid: cp=1, or an even one."),
    (replace(LLAMA, seq_len=1), {"cp": 2}, "cp=2 halves sequences, but seq_len=1 is odd. Valid: cp=1, or an even one."),
    (LLAMA, {"cp": 8192}, "cp=8192 does not divide half of seq_len=4096. Nearest: 4096."),
    (
        LLAMA,
        {"cp": 32, "tp": 8, "cp_algorithm": "all-to-all"},
        "cp=32 does not divide heads of a tensor-parallel rank=16. Nearest: 16.",
    ),
    (LLAMA, {"dp": 3}, "dp=3 does not divide batch_seqs=2048. Nearest: dp=2, 4, or batch_seqs=2046, 2049."),
    (
        LLAMA,
        {"dp": 1024, "micro_batch": 3},
        "micro_batch=3 does not divide sequences of a pipeline=2. Nearest: 2.",
    ),
    (LLAMA, {"ep": 2}, "ep=2 needs experts: llama-3.1-405b has none. Valid: 1."),
    (LLAMA, {"etp": 2, "tp": 2}, "etp=2 needs experts: llama-3.1-405b has none. Valid: 1."),
    (MIXTRAL, {"ep": 3, "dp": 8}, "ep=3 does not divide num_experts=8. Nearest: 2, 4."),
    (MIXTRAL, {"ep": 8, "dp": 4}, "ep=8 does not divide tp x cp x dp=4. Nearest: 4."),
    (
        MIXTRAL,
        {"ep": 8, "etp": 2, "tp": 2, "dp": 4},
        "ep=8 with etp=2 does not divide tp x cp x dp=8. Nearest: 4.",
    ),
    (MIXTRAL, {"etp": 2, "tp": 4}, "etp=2 must be 1 or tp. Nearest: 1, 4."),
    (LLAMA, {"shard": 3, "dp": 8}, "shard=3 does not divide dp=8. Nearest: 2, 4."),
    (LLAMA, {"shard": 4, "dp": 8, "sharding": "ddp"}, "shard=4 needs a sharding other than ddp."),
    (LLAMA, {"vpp": 2}, "vpp=2 needs a pipeline: pp is 1. Valid: 1."),
    (LLAMA, {"pp": 8, "vpp": 2, "schedule": "zb-h1"}, "vpp=2 does not go with schedule=zb-h1."),
    (LLAMA, {"pp": 256}, "pp=256 is more than layers, embedding and output layer: 128. Nearest: 128."),
    (LLAMA, {"pp": 16, "vpp": 9}, "vpp=9 on 16 stages makes more chunks than layers: 128. Nearest: 8."),
    (LLAMA, {"pp": 128, "schedule": "zb-v"}, "pp=128 is too deep for schedule=zb-v, two chunks a stage. Nearest: 64."),
    (LLAMA, {"pp": 7, "schedule": "dualpipe"}, "pp=7 must be even for schedule=dualpipe. Nearest: 6, 8."),
    (
        LLAMA,
        {"pp": 4, "dp": 2048, "schedule": "dualpipe"},
        "number of microbatches=1 must be even for schedule=dualpipe. Nearest: 2.",
    ),
    (LLAMA, {"recompute": "full", "recompute_layers": 1.5}, "recompute_layers=1.5 must be between 0 and 1."),
    (LLAMA, {"gradient_bytes": 3}, "gradient_bytes=3 is no width of a gradient. Valid: 2, 4."),
]


@pytest.mark.parametrize(("training", "values", "message"), REFUSED, ids=[message[:40] for *_, message in REFUSED])
def test_a_plan_that_cannot_be_is_refused_with_the_nearest_that_can(training, values, message):
    with pytest.raises(BadInput) as refusal:
        check(training, Plan(**values))
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)


def test_key_and_value_heads_are_split_or_copied_whole():
    training = replace(LLAMA, model=replace(LLAMA.model, num_heads=24, num_kv_heads=6, d_ff=53248 * 3))
    check(training, Plan(tp=3, sequence_parallel=False))
    check(training, Plan(tp=12, sequence_parallel=False))
    with pytest.raises(BadInput, match=r"tp=8 neither divides num_kv_heads=6 nor is a multiple of it\. Nearest: 6, 12"):
        check(training, Plan(tp=8))


def test_tokens_divide_where_the_sequence_is_split():
    odd = replace(LLAMA, seq_len=8194)
    check(odd, Plan(tp=8, sequence_parallel=False))
    with pytest.raises(BadInput, match=r"tp=8 does not divide tokens of a sequence .*=8194\. Nearest: 2, 17"):
        check(odd, Plan(tp=8))


def test_the_plan_occupies_the_cluster():
    with pytest.raises(BadInput, match=r"occupies 128 accelerators .*; the cluster has 256\. .* with dp=2\."):
        check_plan(Plan(tp=8, pp=16), LLAMA, CLUSTER.with_num_gpus(256))
    check_plan(Plan(tp=8, pp=16, dp=2), LLAMA, CLUSTER.with_num_gpus(256))


def test_uneven_stages_are_allowed_with_a_word():
    assert plan_warnings(Plan(tp=8, pp=9, dp=8), LLAMA) == []
    (said,) = plan_warnings(Plan(tp=8, pp=16, dp=8), LLAMA)
    assert said == "126 layers do not divide over 16 stages: the fullest holds 8"
    assert "microbatches leave" in plan_warnings(Plan(tp=8, pp=9, dp=1024), LLAMA)[0]
    assert "tp=6 is not a power of 2" in plan_warnings(Plan(tp=6), LLAMA)[0]


@pytest.mark.parametrize(
    ("software", "values", "message"),
    [
        ("deepspeed", {"sharding": "zero3", "pp": 2}, "sharding=zero3 does not go with pp=2 in DeepSpeed ZeRO."),
        ("megatron-lm-2022", {"sharding": "zero2", "pp": 2}, "sharding=zero2: Megatron-LM, 2022"),
        ("megatron-deepspeed", {"pp": 2, "vpp": 2}, "vpp=2: Megatron-DeepSpeed does not interleave"),
        ("megatron-core", {"pp": 6, "vpp": 3, "dp": 128}, "vpp=3 needs a number of microbatches that pp=6 divides in"),
    ],
)
def test_what_a_software_stack_cannot_do_is_refused(software, values, message):
    with pytest.raises(BadInput) as refusal:
        check_stack(Plan(**values), LLAMA, stack(software))
    assert str(refusal.value).startswith(message)
    assert "Valid: " in str(refusal.value) or "Nearest: " in str(refusal.value)


def test_what_another_stack_can_do_passes():
    check_stack(Plan(sharding="zero3", pp=2, vpp=2), LLAMA, stack("torchtitan"))
    check_stack(Plan(sharding="zero3"), LLAMA, stack("deepspeed"))
    check_stack(Plan(pp=8, vpp=3, dp=128), LLAMA, stack("megatron-core"))


def test_nearest_are_the_neighbours():
    assert nearest(5, divisors(24)) == "4, 6"
    assert nearest(100, divisors(24)) == "24"


@pytest.mark.parametrize(
    ("chip", "precision", "valid"),
    [("a100-sxm-80gb", "fp8", "bf16, fp16, fp32"), ("h100-sxm", "nvfp4", "bf16, fp16, fp8, fp8-block, mxfp8, fp32")],
)
def test_a_precision_that_an_accelerator_lacks_is_refused(chip, precision, valid):
    numbers = calibration(hardware.cluster(chip), "megatron-core")
    with pytest.raises(BadInput, match=rf"^precision={precision} needs fp\d, .* Valid: {valid}\.$"):
        numbers.kernels.of(precision)
