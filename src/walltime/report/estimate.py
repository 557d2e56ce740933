"""One plan's step as text: time with bounds, memory, and where the time goes."""

from walltime.engines import Estimate
from walltime.hardware import Cluster
from walltime.report.terminal import bar, table
from walltime.units import format_count, format_flop, format_si, format_time
from walltime.workload import MlpStack

_PARTS = {
    "matmul": "matmuls",
    "tp_comm": "tensor-parallel traffic, exposed",
    "pp_comm": "pipeline and expert traffic, exposed",
    "latency": "network latency of the pipeline, exposed",
    "bubble": "pipeline bubble",
    "dp_comm": "data-parallel traffic, exposed",
    "dp_latency": "data-parallel latency",
}


def memory_bytes_per_gpu(result: Estimate) -> dict[str, float]:
    """Return the memory of the first plan by use, per accelerator [B]."""
    num_gpus = float(result.plans.num_gpus[0])
    return {name: float(total[0]) / num_gpus for name, total in result.memory_bytes.items()}


def estimate_text(result: Estimate, model: MlpStack, cluster: Cluster, *, searched: bool) -> str:
    """Return what `walltime estimate` prints of one plan, which was ``searched`` for or given."""
    time_s, num_gpus = float(result.time_s[0]), result.plans.num_gpus[0]
    plan = result.plans.plan(0)
    memory, capacity = memory_bytes_per_gpu(result), cluster.accelerator.hbm_bytes
    experts = f", {model.num_experts} experts (top-1)" if model.num_experts > 1 else ""
    parts = [
        [_PARTS[name], format_time(float(part[0])), f"{part[0] / time_s:.1%}", bar(part[0] / time_s)]
        for name, part in result.parts_s.items()
    ]
    binding = max(result.parts_s, key=lambda name: float(result.parts_s[name][0]))
    return "\n".join(
        [
            f"MLP stack d_model {model.d_model}, d_ff {model.d_ff}, {model.num_layers} layers{experts}: "
            f"{format_flop(model.num_parameters)} parameters, {format_flop(model.batch_tokens)} tokens a step",
            f"on {format_count(num_gpus)} x {cluster.name} (numbers of {cluster.parameters})",
            f"plan: {plan}{' (the best found)' if searched else ''}",
            f"      degrees by network level: {' x '.join(cluster.network.level_names)}",
            "",
            f"  step time    {format_time(time_s)}   [lower {format_time(float(result.lower_s[0]))}, "
            f"upper {format_time(float(result.upper_s[0]))}]",
            f"  utilisation  {float(result.utilization[0]):.2%} of the dense peak",
            f"  whole run    {format_time(float(result.run_time_s[0]))}, {format_flop(model.training_flop)} FLOP",
            f"  memory       {format_si(sum(memory.values()), 'B')} of {format_si(capacity, 'B')} per accelerator: "
            f"{'fits' if result.fits[0] else 'DOES NOT FIT'} (activations are not counted)",
            "",
            table(["where the time goes", "a step", "share", ""], parts),
            "",
            f"largest part: {_PARTS[binding]}",
            f"next: walltime limits --on {cluster.id}",
        ]
    )
