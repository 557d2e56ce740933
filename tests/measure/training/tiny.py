"""A tiny Llama, and the plans that train it."""

from walltime.measure.records import TrainRequest
from walltime.plan import Plan
from walltime.workload import Training, Transformer

MODEL = Transformer("tiny-llama", 4, 32, 64, 4, 2, 8, 64)
TRAINING = Training(MODEL, seq_len=16, batch_seqs=8)
FP32 = {"precision": "fp32", "sharding": "zero3"}
ONE = Plan(**FP32)
PLANS = {
    2: {
        "fsdp": Plan(dp=2, **FP32),
        "fsdp-kept-microbatches": Plan(dp=2, micro_batch=2, reshard=False, **FP32),
        "ddp": Plan(dp=2, precision="fp32", sharding="ddp"),
        "tp": Plan(tp=2, **FP32),
        "tp-whole-sequences": Plan(tp=2, sequence_parallel=False, recompute="full", **FP32),
        "pp-gpipe": Plan(pp=2, schedule="gpipe", **FP32),
        "pp-1f1b": Plan(pp=2, micro_batch=2, **FP32),
        "pp-interleaved": Plan(pp=2, vpp=2, **FP32),
    },
    4: {
        "hybrid": Plan(dp=4, shard=2, **FP32),
        "fsdp-tp": Plan(dp=2, tp=2, recompute="selective", **FP32),
        "fsdp-pp": Plan(dp=2, pp=2, reshard=False, recompute="full", recompute_layers=0.5, **FP32),
        "tp-pp": Plan(tp=2, pp=2, **FP32),
        "ddp-pp": Plan(dp=2, pp=2, precision="fp32", sharding="ddp"),
        "fsdp-bf16": Plan(dp=4, precision="bf16", sharding="zero3"),
    },
}
NUM_STEPS = 3


def request(plan, training=TRAINING, **options):
    """A request of few steps."""
    return TrainRequest(training, plan, **{"num_warmup_steps": 1, "num_steps": NUM_STEPS} | options)
