"""How processes are started: torchrun on each node by hand, or by Slurm on all of them."""

import re
from dataclasses import dataclass

from walltime.hardware import Cluster
from walltime.interop.quoting import shell_word
from walltime.plan import divisors

_PORT = 29500  # torchrun's own default
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Nodes:
    """Accelerators node by node.

    Attributes
    ----------
    num_nodes, per_node
        Nodes, and accelerators (and processes) on each.
    """

    num_nodes: int
    per_node: int


def nodes_of(cluster: Cluster, num_gpus: int) -> Nodes:
    """Return the nodes of a cluster: groups of its innermost level, or the largest that divide it evenly.

    Examples
    --------
    >>> from walltime import hardware
    >>> nodes_of(hardware.cluster("h100-sxm"), 1024)
    Nodes(num_nodes=128, per_node=8)
    """
    sizes = cluster.network.level_sizes
    per_node = max(size for size in divisors(num_gpus) if not sizes or size <= sizes[0])
    return Nodes(num_gpus // per_node, per_node)


def job_name(name: str) -> str:
    """Return a name that Slurm and file systems take."""
    return _NOT_IN_NAMES.sub("-", name).strip("-.") or "run"


def sbatch_lines(name: str, nodes: Nodes) -> list[str]:
    """Return the directives of a batch script: one task a node, which starts the node's processes."""
    return [
        f"#SBATCH --job-name={job_name(name)}",
        f"#SBATCH --nodes={nodes.num_nodes}",
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --gpus-per-node={nodes.per_node}",
        "#SBATCH --exclusive",
    ]


def torchrun(nodes: Nodes, *, slurm: bool) -> list[str]:
    """Return the words that start a program on every accelerator, already quoted for bash."""
    if slurm:
        head = '"$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)'
        rendezvous = f'--rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint {head}:{_PORT}"'
        start = "srun torchrun"
    else:
        address = f'--master-addr "${{MASTER_ADDR:-localhost}}" --master-port "${{MASTER_PORT:-{_PORT}}}"'
        rendezvous = f'--node-rank "${{NODE_RANK:-0}}" {address}'
        start = "torchrun"
    return [f"{start} --nnodes {nodes.num_nodes} --nproc-per-node {nodes.per_node}", rendezvous]


def bash_script(header: str, directives: list[str], body: list[str]) -> str:
    """Return a bash script: directives for Slurm first, if there are any, then the header's comments, then commands."""
    return "\n".join(["#!/usr/bin/env bash", *directives, header.rstrip("\n"), "", "set -euo pipefail", *body]) + "\n"


def array(name: str, words: list[list[str]]) -> list[str]:
    """Return an array of bash, one line an argument with its values."""
    return [f"{name}=(", *[f"  {' '.join(shell_word(word) for word in line)}" for line in words], ")"]


def continued(lines: list[str]) -> str:
    """Return one command on several lines."""
    return " \\\n  ".join(lines)
