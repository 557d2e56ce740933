"""Findings of collectives, generations, models, sequences, power, and of what others measured."""

import itertools

import numpy as np

from walltime.economics.account import reliability_of
from walltime.economics.known_reliability import checkpoint_bytes, reliability_range
from walltime.engines.stack import stack as catalog_stack
from walltime.hardware import cluster
from walltime.studies.fernandez2024 import collectives
from walltime.studies.fernandez2024.choices import best, fsdp
from walltime.studies.fernandez2024.drawing import percent, plan_name
from walltime.studies.fernandez2024.findings import Finding, change, finding, signed
from walltime.studies.fernandez2024.hardware import generation
from walltime.studies.fernandez2024.measured import torchtitan_point
from walltime.studies.fernandez2024.published import all_reduce_points
from walltime.studies.fernandez2024.scaling import weak
from walltime.studies.fernandez2024.setting import FEW, MANY
from walltime.studies.fernandez2024.sweep import alone, sweep
from walltime.studies.fernandez2024.workloads import context_fsdp, model_best, model_fsdp
from walltime.workload import Training
from walltime.workload.catalog import transformer

_GIB = 2**30


@finding("collectives-median")
def _median() -> Finding:
    off = np.abs(collectives.deviations())
    said = f"Over {len(off)} points. The tree between nodes was fitted on them, and on three users’ measurements."
    return Finding(said, ours=float(np.median(off)))


@finding("collectives-worst")
def _worst() -> Finding:
    off = np.abs(collectives.deviations())
    (nodes, size) = list(all_reduce_points())[int(off.argmax())]
    return Finding(f"At {nodes} nodes and {size / 2**20:,.0f} MiB.", ours=float(off.max()))


def straight_line_s(nodes: int) -> float:
    """Return the latency of a straight line through our times at the sizes of the paper's points. [s]"""
    sizes = [size for of, size in all_reduce_points() if of == nodes]
    times = [collectives.time_s("all_reduce", nodes, size) for size in sizes]
    weights = 1 / np.array(times)
    slopes = np.column_stack([np.ones(len(sizes)), sizes]) * weights[:, None]
    return float(np.linalg.lstsq(slopes, np.ones(len(sizes)), rcond=None)[0][0])


@finding("collectives-growth")
def _growth() -> Finding:
    few, many = straight_line_s(4), straight_line_s(512)
    return Finding(f"Ours, by the same straight line: {few * 1e6:.0f} µs and {many * 1e6:.0f} µs.", ours=many / few)


@finding("collectives-logarithm")
def _logarithm() -> Finding:
    steps = [collectives.time_s("all_reduce", nodes, 512) for nodes in (8, 64, 512)]
    added = [second - first for first, second in itertools.pairwise(steps)]
    return Finding(
        f"Eight times the nodes add {added[0] * 1e6:.0f} µs from 8 to 64 and {added[1] * 1e6:.0f} µs from 64 to 512: "
        "up and down a tree there are two steps for each doubling.",
        ours=abs(added[1] / added[0] - 1),
    )


@finding("collectives-ring")
def _ring() -> Finding:
    return Finding(
        "An assumption here, as it was a fact of the library of that time: our AllGather knows nothing but rings."
    )


@finding("collectives-bound")
def _bound() -> Finding:
    kept = {}
    for kind in ("all_reduce", "all_gather"):
        rates = [
            collectives.bus_bytes_per_s(kind, nodes, _GIB, collectives.time_s(kind, nodes, _GIB)) for nodes in (4, 512)
        ]
        kept[kind] = rates[1] / rates[0]
    return Finding(
        f"Of its bus bandwidth at 4 nodes and 1 GiB, AllReduce keeps {percent(kept['all_reduce'])} on 512 nodes and "
        f"AllGather {percent(kept['all_gather'])}: {collectives.ranks(512) - 1:,} steps that wait for each other "
        "against two for each doubling. AllReduce’s half was fitted on the figure; AllGather’s is an estimate.",
        ours=kept["all_gather"] / kept["all_reduce"],
    )


@finding("trend-intra")
def _intra() -> Finding:
    base = best(sweep(MANY))
    faster = best(sweep(MANY, network=("network.intra.bandwidth=2x",)))
    larger = best(sweep(MANY, network=("network.sizes=64",)))
    gains = [change(base, point, "tokens_per_s") for point in (faster, larger)]
    return Finding(
        f"On {MANY:,} H100s, the best of tensor × pipeline × FSDP at each: twice the bandwidth inside nodes brings "
        f"{signed(gains[0])} tokens/s; nodes of 64 instead of 8 GPUs {signed(gains[1])} ({plan_name(larger)}), for "
        "the ring crosses fewer slow links.",
        ours=min(gains),
    )


@finding("trend-extrapolate")
def _extrapolate() -> Finding:
    speedups = {
        size: generation("H100", size)["tokens_per_s"] / generation("A100", size)["tokens_per_s"] for size in (8, MANY)
    }
    ranked = sorted((point for point in sweep(MANY) if point.runs), key=lambda point: point.time_s)
    place = 1 + ranked.index(alone(MANY))
    return Finding(
        f"FSDP alone, the fastest plan on 8 H100s, is number {place} on {MANY:,}. An H100 is {speedups[8]:.2f} times "
        f"as fast as an A100 on 8 GPUs and {speedups[MANY]:.2f} times on {MANY:,}.",
        holds=place > 1 and speedups[MANY] < speedups[8],
    )


@finding("generation-ratio")
def _generation_ratio() -> Finding:
    a100, h100 = generation("A100", 8), generation("H100", 8)
    return Finding(
        f"On 8 GPUs with FSDP; {generation('A100', FEW)['mfu'] / generation('H100', FEW)['mfu']:.2f} on {FEW}. From "
        f"A100 to H100 {_grown()}: what is not matmul weighs more, and an H100 sustains less of its peak in long runs. "
        f"{_IN_SAMPLE}",
        ours=a100["mfu"] / h100["mfu"],
    )


_IN_SAMPLE = (
    "Not fitted on the paper, but the software’s numbers (fsdp1) were on llm-foundry’s published FSDP runs, of A100s "
    "and H100s as these are."
)


def _grown() -> str:
    old, new = (generation(name, 8).setting.on() for name in ("A100", "H100"))
    chips = old.accelerator, new.accelerator
    peak = chips[1].peak_flop_per_s / chips[0].peak_flop_per_s
    memory = chips[1].hbm_bytes_per_s / chips[0].hbm_bytes_per_s
    inside, outside = (new.network.bytes_per_s[at] / old.network.bytes_per_s[at] for at in (0, -1))
    return (
        f"the peak grew {peak:.2f}-fold, memory bandwidth {memory:.2f}-fold, the networks inside and between nodes "
        f"{inside:.2g}- and {outside:.2g}-fold"
    )


@finding("generation-a100")
def _a100() -> Finding:
    return Finding(
        f"Llama 2 7B, FSDP, 8 GPUs: the workload of the paper is not known. {_IN_SAMPLE}",
        ours=generation("A100", 8)["mfu"],
    )


@finding("generation-h100")
def _h100() -> Finding:
    return Finding(f"The same workload. {_IN_SAMPLE}", ours=generation("H100", 8)["mfu"])


@finding("generation-flop")
def _flop() -> Finding:
    a100, h100 = generation("A100", 8), generation("H100", 8)
    return Finding(
        f"{a100['tflop_per_s_per_gpu']:.0f} and {h100['tflop_per_s_per_gpu']:.0f} TFLOP/s. {_IN_SAMPLE}",
        ours=h100["tflop_per_s_per_gpu"] / a100["tflop_per_s_per_gpu"],
    )


@finding("size-both")
def _both() -> Finding:
    small, large = model_fsdp("7B", 256), model_fsdp("70B", 256)
    more = [large[name] / small[name] for name in ("compute_s", "communication_s")]
    return Finding(
        f"FSDP on 256 GPUs at the same tokens: {more[0]:.1f} times the computation and {more[1]:.1f} times the "
        "communication a step.",
        holds=min(more) > 1,
    )


@finding("size-utilisation")
def _utilisation() -> Finding:
    mfu = {(size, gpus): model_best(size, gpus)["mfu"] for size in ("7B", "70B") for gpus in (256, MANY)}
    smaller = model_best("70B", 256, seqs_per_gpu=1)["mfu"]
    return Finding(
        f"Best of tensor × pipeline × FSDP with recomputation, MFU from 7B to 70B: {percent(mfu['7B', 256])} to "
        f"{percent(mfu['70B', 256])} on 256 GPUs, {percent(mfu['7B', MANY])} to {percent(mfu['70B', MANY])} on "
        f"{MANY:,}; with half the sequences for 70B {percent(smaller)} on 256.",
        holds=all(mfu["70B", gpus] < mfu["7B", gpus] for gpus in (256, MANY)),
    )


@finding("context-hides")
def _contexts() -> Finding:
    points = [context_fsdp(length, MANY) for length in (2048, 4096, 8192, 32768)]
    exposed, hidden = ([point[name] for point in points] for name in ("exposed_share_of_step", "overlap_share"))
    lengths = [f"{point.setting.seq_len // 1024}k" for point in points]
    return Finding(
        f"One sequence a GPU, FSDP on {MANY:,} GPUs, at {', '.join(lengths)}: {', '.join(map(percent, hidden))} of the "
        f"communication is hidden, and {', '.join(map(percent, exposed))} of the step is exposed. Gathers cost the "
        "same, and longer sequences compute longer beside them. More than a share that was fitted for the software is "
        f"never hidden in our model: beyond it, as on {FEW} GPUs at any length, what is exposed is only diluted.",
        holds=hidden[0] < hidden[1] < hidden[2] and exposed == sorted(exposed, reverse=True),
    )


@finding("power-linear")
def _linear() -> Finding:
    few, many = fsdp(weak(FEW)), fsdp(weak(MANY))
    power, rate = (many[name] / few[name] for name in ("total_board_power_w", "tokens_per_s"))
    return Finding(
        f"From {FEW} to {MANY:,} GPUs, {MANY // FEW} times as many: {power:.1f} times the power and {rate:.1f} times "
        "the tokens/s; ours is the latter over the former.",
        ours=rate / power,
    )


@finding("power-watts")
def _watts() -> Finding:
    few, many = (fsdp(weak(size))["board_power_w"] for size in (FEW, MANY))
    return Finding("Not judged.", shown=f"{few:.0f} W, {many:.0f} W")


@finding("power-strategy")
def _strategy() -> Finding:
    base = alone(MANY)
    found = best(sweep(MANY))
    gains = [change(base, found, metric) for metric in ("tokens_per_s", "board_power_w")]
    return Finding(
        "Of what against what is not known; ours is the best of tensor × pipeline × FSDP against FSDP alone on 2,048 "
        "GPUs.",
        shown=f"{signed(gains[0])}, {signed(gains[1])}",
    )


@finding("settings-recalled")
def _settings() -> Finding:
    return Finding("Used as the study’s configuration; how much hangs on it is in the table of sensitivities.")


@finding("torchtitan-loss")
def _torchtitan_loss() -> Finding:
    few, many = torchtitan_point(8), torchtitan_point(FEW)
    return Finding(
        f"Ours shows no loss at all: what this software exposes, {percent(many['exposed_share_of_step'])} of the step, "
        f"hardly grows with the ring up to {FEW} ranks. As the loss is smaller than the tolerance, this row cannot "
        "tell a model that has it from one that has none.",
        ours=change(few, many, "tokens_per_s_per_gpu"),
    )


@finding("torchtitan-8")
def _torchtitan_few() -> Finding:
    said = "The software’s numbers were fitted on rows of this source among others."
    return Finding(said, ours=torchtitan_point(8)["tokens_per_s_per_gpu"])


@finding("torchtitan-128")
def _torchtitan_many() -> Finding:
    said = "The software’s numbers were fitted on rows of this source among others."
    return Finding(said, ours=torchtitan_point(FEW)["tokens_per_s_per_gpu"])


@finding("llama3-effective")
def _effective() -> Finding:
    on, training = cluster("h100-sxm", _LLAMA3_GPUS), Training(transformer("llama-3.1-405b"), 8192, 2048)
    software = catalog_stack("megatron-core")
    found = reliability_of(training, on, software)
    assert found is not None
    shares = {name: float(share) for name, share in found.parts(_LLAMA3_GPUS).items()}
    lost = ", ".join(f"{name} {percent(share)}" for name, share in shares.items() if name != "training" and share)
    ends = reliability_range(on, checkpoint_bytes(training.model, software))
    worse, better = (float(one.effective_share(_LLAMA3_GPUS)) for one in ends)
    return Finding(
        f"How often it stops, {float(found.interruptions_per_day(_LLAMA3_GPUS)):.1f} times a day, and how fast storage "
        "writes (2 TB/s) are from this very run; how long a restart, a pause for a checkpoint and slow nodes take are "
        f"estimates from others: {lost}, with checkpoints every {float(found.interval_s_of(_LLAMA3_GPUS)) / 60:.0f} "
        f"minutes, the best interval. With all estimates at their worse or better ends it is {percent(worse)} "
        f"to {percent(better)}: that it is over 90 % is not sure.",
        ours=shares["training"],
        shown=f"{percent(shares['training'])} ({100 * worse:.0f} to {100 * better:.0f})",
    )


_LLAMA3_GPUS = 16_384
