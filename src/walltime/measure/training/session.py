"""A measurement of training steps in one rank, from the process group to the result."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed

from walltime.measure.devices import Device, DeviceKind, device
from walltime.measure.environment import environment
from walltime.measure.memory_errors import is_out_of_memory, shortened_message
from walltime.measure.nvml import PowerSampler
from walltime.measure.ranks import Place, place, process_group
from walltime.measure.records import StepParts, TrainRequest, TrainResult
from walltime.measure.together import Together
from walltime.measure.trace import mean_parts, step_parts
from walltime.measure.training.batches import Batch, batch_of
from walltime.measure.training.checks import check_request
from walltime.measure.training.memory import limited, memory_bytes, reset_peak, resident_bytes
from walltime.measure.training.mesh import Mesh, mesh_of
from walltime.measure.training.parallelize import is_sharded
from walltime.measure.training.trainer import Trainer, trainer
from walltime.measure.training.watch import Watch
from walltime.measure.training.window import gathered, mean_power, profiled, settled, timed


def session(
    request: TrainRequest,
    device_kind: DeviceKind | None,
    traces: Path | None,
    memory_limit_bytes: float | None,
    on_out_of_memory: Callable[[TrainResult], None] | None,
    prepare: Callable[[], None] | None,
) -> TrainResult:
    """Measure in this rank; see `walltime.measure.training.run`."""
    where = place()
    check_request(request, where.num_ranks)
    chosen = device(where, device_kind)
    check_request(request, where.num_ranks, chosen.kind)
    blank = TrainResult(
        request=request,
        status="oom",
        device=chosen.name,
        num_ranks_per_node=where.num_local_ranks,
        framework=f"walltime measure (PyTorch {torch.__version__.partition('+')[0]})",
        attention="unfused" if request.training.model.attention_sinks else "sdpa",
        environment=environment(chosen, where, request.seed),
    )

    def told(message: str) -> None:
        if on_out_of_memory is not None:
            on_out_of_memory(replace(blank, message=message))

    is_host_limited = chosen.kind == "cpu" and memory_limit_bytes is not None
    with _quiet(), _joined(where, chosen, request):
        if prepare is not None:
            Together(where, chosen).the_first_does(prepare)
        with Watch(where, told) as watch:
            try:
                with limited(chosen, memory_limit_bytes):
                    return _measured(request, blank, chosen, traces)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error, is_host_limited=is_host_limited):
                    raise
                message = shortened_message(error)
            watch.tell(message)
            return replace(blank, message=message)


def _measured(request: TrainRequest, blank: TrainResult, chosen: Device, traces: Path | None) -> TrainResult:
    before_bytes = resident_bytes()
    mesh = mesh_of(request.plan, chosen.kind, has_group=distributed.is_initialized())
    trained = trainer(request, mesh, torch.device(chosen.torch_name))
    warm, window_end = request.num_warmup_steps, request.num_warmup_steps + request.num_steps
    for batch in _batches(request, mesh, chosen, range(warm)):
        trained.step(batch)
    batches = _batches(request, mesh, chosen, range(warm, window_end))
    reset_peak(chosen)
    with settled(), PowerSampler(chosen) as sampler:
        window = timed(trained, batches, chosen)
    held = gathered(memory_bytes(trained, chosen, before_bytes))
    return replace(
        blank,
        status="ok",
        step_times_s=window.step_times_s,
        losses=window.losses,
        power=mean_power(gathered(sampler.reading())),
        memory_bytes={kind: max(rank[kind] for rank in held) for kind in held[0]},
        parts=_parts(request, trained, mesh, chosen, traces) if request.num_profiled_steps else None,
    )


def _batches(request: TrainRequest, mesh: Mesh, chosen: Device, steps: range) -> list[Batch]:
    """Return this rank's share of the global batches of some steps."""
    each = request.training.batch_seqs // request.plan.dp
    share = range(mesh.rank("dp") * each, (mesh.rank("dp") + 1) * each)
    return [batch_of(request.training, step, request.seed, share, chosen.torch_name) for step in steps]


def _parts(request: TrainRequest, trained: Trainer, mesh: Mesh, chosen: Device, traces: Path | None) -> StepParts:
    """Return what the traces of a few more steps show, the mean over ranks; the first of them warms the profiler up."""
    start = request.num_warmup_steps + request.num_steps
    batches = _batches(request, mesh, chosen, range(start, start + 1 + request.num_profiled_steps))
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    with tempfile.TemporaryDirectory(prefix="walltime-") as temporary:
        folder = Path(temporary) if traces is None else traces
        folder.mkdir(parents=True, exist_ok=True)
        trace = folder / f"rank{rank}.json.gz"
        with settled():
            profiled(trained, batches, chosen, trace)
        return replace(mean_parts(gathered(step_parts(trace))), num_steps=request.num_profiled_steps)


@contextmanager
def _joined(where: Place, chosen: Device, request: TrainRequest) -> Iterator[None]:
    """Join the processes; one that is alone and yet goes through FSDP2 is a group of its own."""
    if where.num_ranks > 1 or not is_sharded(request.plan):
        with process_group(where, chosen.kind):
            yield
        return
    backend = "nccl" if chosen.kind == "cuda" else "gloo"
    distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what PyTorch says to those who write layers: its experimental parts say so at every use."""
    with warnings.catch_warnings():
        for category in (UserWarning, FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=r"torch\.")
        yield
