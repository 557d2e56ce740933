"""The processes of one measurement: who they are, how they are started, and the group that joins them.

``torchrun`` and Slurm tell each process its place by environment variables; a process that was told nothing is alone.
Slurm is believed in what ``srun`` started: the shell of a job has variables of Slurm too, and yet it is one process.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from walltime.measure.requirements import torch_module
from walltime.problems import BadInput

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE")
_SLURM_STEP, _SLURM_RANKS_OF_NODE = "SLURM_STEP_ID", "SLURM_GTIDS"
VARIABLES = (*_TORCHRUN, *_SLURM, _SLURM_STEP, _SLURM_RANKS_OF_NODE)
"""Environment variables that tell a process its place."""
_TIMEOUT_S = 600


@dataclass(frozen=True)
class Place:
    """A process among those of a measurement.

    Attributes
    ----------
    rank, num_ranks
        Among all processes, and their number.
    local_rank, num_local_ranks
        Among those of its node.
    """

    rank: int = 0
    num_ranks: int = 1
    local_rank: int = 0
    num_local_ranks: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that prints and writes."""
        return self.rank == 0

    @property
    def num_nodes(self) -> int:
        """Nodes, of as many processes each."""
        return -(-self.num_ranks // self.num_local_ranks)


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """Return what ``torchrun`` or Slurm said of this process; alone without a word of either.

    Raises
    ------
    BadInput
        A variable is not a whole number, or they contradict each other.
    """
    if is_slurm_task(environment):
        return _slurm_place(environment)
    if _TORCHRUN[0] in environment and _TORCHRUN[1] in environment:
        return _place([_count(environment, name) for name in _TORCHRUN])
    return Place()


def is_slurm_task(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether ``srun`` started this process itself, and may have given it cores and GPUs of its own."""
    return _TORCHRUN[0] not in environment and all(name in environment for name in (_SLURM_STEP, *_SLURM[:2]))


def _slurm_place(environment: Mapping[str, str]) -> Place:
    """Return the place in a step of a job, which may be smaller than the job."""
    *counts, _ = _SLURM
    found = _place([*(_count(environment, name) for name in counts), _tasks_per_node(environment)])
    ranks = environment.get(_SLURM_RANKS_OF_NODE)  # every rank sees by it that some are out of place, even the first
    first = found.rank - found.local_rank
    if ranks is not None and ranks != ",".join(str(first + place) for place in range(found.num_local_ranks)):
        raise _not_in_blocks(f"this node has the ranks {ranks}")
    return found


def _tasks_per_node(environment: Mapping[str, str]) -> int | None:
    """Return the processes of each node of a step, which Slurm writes as ``4(x2)`` for two nodes of four.

    Raises
    ------
    BadInput
        Nodes have different numbers of them.
    """
    text = environment.get(_SLURM[-1])
    if text is None:
        return None
    number, _, nodes = text.partition("(x")
    if "," in text:
        raise _not_in_blocks(f"nodes have {text} processes")
    if not number.isdigit() or (nodes and not nodes.removesuffix(")").isdigit()):
        raise BadInput(f"{_SLURM[-1]}={text!r} in the environment is not a number of tasks, such as 4(x2).")
    return int(number)


def _not_in_blocks(what: str) -> BadInput:
    return BadInput(
        f"{what}: ranks must fill one node after the other, as many on each. Valid: srun -m block --ntasks-per-node N."
    )


def _place(counts: Sequence[int | None]) -> Place:
    rank, num_ranks, local_rank, num_local_ranks = counts
    found = Place(rank or 0, num_ranks or 1, local_rank or 0, num_local_ranks or num_ranks or 1)
    if not (found.rank < found.num_ranks and found.local_rank < found.num_local_ranks <= found.num_ranks):
        raise BadInput(f"the launcher says rank {found.rank} of {found.num_ranks}: {found}. Valid: rank < world size.")
    if found.rank % found.num_local_ranks != found.local_rank:
        raise _not_in_blocks(f"rank {found.rank} is number {found.local_rank} of {found.num_local_ranks} on its node")
    return found


def _count(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name)
    if text is None:
        return None
    if not text.isdigit():
        raise BadInput(f"{name}={text!r} in the environment is not a whole number.")
    return int(text)


def launch_command(num_processes: int, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs ``walltime`` with these arguments in several processes of this machine."""
    if num_processes == 1:
        return [sys.executable, "-m", "walltime", *arguments]
    agent = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}", "-m"]
    return [sys.executable, *agent, "--", "walltime", *arguments]  # what follows -- is no flag of torchrun's


LAUNCHER = "WALLTIME_LAUNCHER"
"""Environment variable with the process id of the ``walltime`` that started a launcher by itself."""
_PR_SET_PDEATHSIG = 1  # of prctl(2)


def end_with_launcher(environment: Mapping[str, str] = os.environ) -> None:
    """Let this process end when its launcher does, however that ends, if a launcher that ``walltime`` started has it.

    ``torchrun`` gives its processes sessions of their own, and if it is killed while it starts them they stay behind.
    """
    if LAUNCHER not in environment or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if not Path("/proc", environment[LAUNCHER]).exists():
        raise SystemExit(128 + signal.SIGTERM)


def _require_meeting_point(environment: Mapping[str, str]) -> None:
    """Refuse to join processes that were not told where the first one listens; Slurm does not tell."""
    for name, example in (("MASTER_ADDR", "the first node's name"), ("MASTER_PORT", "29500")):
        if not environment.get(name):
            raise BadInput(f"{name} is not set in the environment: processes cannot find each other. Valid: {example}.")


@contextmanager
def process_group(where: Place, device_kind: str, timeout_s: float = _TIMEOUT_S) -> Iterator[None]:
    """Join the processes, by NCCL between GPUs and by gloo between CPUs; nothing to do for one alone.

    Parameters
    ----------
    where
        This process.
    device_kind
        ``cuda`` or ``cpu``.
    timeout_s
        After which a collective that does not end is given up. [s]
    """
    torch = torch_module()
    if where.num_ranks > 1:
        _require_meeting_point(os.environ)
        backend = "nccl" if device_kind == "cuda" else "gloo"
        wait = timedelta(seconds=timeout_s)
        torch.distributed.init_process_group(backend, rank=where.rank, world_size=where.num_ranks, timeout=wait)
    try:
        yield
    finally:
        if where.num_ranks > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
