"""What is measured of a training step, asked and answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from walltime.plan import Plan
from walltime.workload import Training

Status = Literal["ok", "oom"]


@dataclass(frozen=True)
class TrainRequest:
    """Training steps to run.

    Attributes
    ----------
    training, plan
        The model with its batch, and how it is split; the plan's accelerators are the processes that run it.
    num_warmup_steps, num_steps, num_profiled_steps
        Steps that are not timed, then those that are, then, outside the window, those that a profiler watches.
    compiled
        Whether layers go through ``torch.compile``.
    seed
        Of weights and tokens.
    model_id
        What the model is called.
    """

    training: Training
    plan: Plan
    num_warmup_steps: int = 5
    num_steps: int = 20
    num_profiled_steps: int = 2
    compiled: bool = False
    seed: int = 0
    model_id: str = ""


@dataclass(frozen=True)
class StepParts:
    """A step as its trace shows it, by spec 2.0: lengths of unions of intervals, never sums. [s]

    Attributes
    ----------
    step_s
        The step: computation, exposed communication and idle time.
    compute_s
        While some kernel computes (copies included).
    communication_s, exposed_communication_s
        While some collective runs, and that part of it in which nothing computes.
    idle_s
        The rest.
    communication_by_kind_s, exposed_by_kind_s
        The same by kind of collective (``all_gather``, ``send_recv``); kinds may overlap, so they need not add up.
    exposed_by_group_s
        The same by the name of the ranks that take part (``mesh_tp``), where a trace tells it.
    num_steps
        Steps that this is the mean of.
    """

    step_s: float
    compute_s: float
    communication_s: float
    exposed_communication_s: float
    idle_s: float
    communication_by_kind_s: Mapping[str, float] = field(default_factory=dict)
    exposed_by_kind_s: Mapping[str, float] = field(default_factory=dict)
    exposed_by_group_s: Mapping[str, float] = field(default_factory=dict)
    num_steps: int = 1


@dataclass(frozen=True)
class PowerReading:
    """What an accelerator drew over a window: the mean of samples [W] and, where a counter has it, the energy. [J]"""

    mean_w: float
    num_samples: int
    energy_j: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """What the steps took.

    Attributes
    ----------
    request
        What was asked.
    status
        ``oom`` where the memory did not do.
    step_times_s
        Of each timed step, the slowest rank's. [s]
    losses
        Mean loss of each timed step, over all ranks.
    parts
        Of the profiled steps; None without any.
    power
        None where it was not measured.
    memory_bytes
        Most that one accelerator held, by kind: ``allocated``, ``reserved``, ``weights``, ... [B]
    environment
        What it ran on and with, `walltime.measure.environment`.
    message
        What the device said when it ran out of memory.
    device, num_ranks_per_node
        The accelerator as it calls itself, and how many of them a node has.
    framework, attention
        The software with its version, and what computes attention: ``sdpa`` or ``unfused``.
    """

    request: TrainRequest
    status: Status
    step_times_s: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    parts: StepParts | None = None
    power: PowerReading | None = None
    memory_bytes: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    device: str = ""
    num_ranks_per_node: int = 1
    framework: str = ""
    attention: str = ""
