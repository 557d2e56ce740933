"""Fitted numbers at the bad end of their uncertainty: a plan that is still best by them does not live on optimism."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from walltime.catalog.fitted import FittedBlock, accelerator_blocks, stack_blocks, training_record
from walltime.engines.calibration import AcceleratorNumbers, Calibration, Links, StackNumbers, calibration
from walltime.engines.what_if import link_blocks
from walltime.hardware import Cluster
from walltime.physics.links import LinkLevel

_MORE_IS_WORSE = {
    *("dropout_slowdown", "memory_factor", "kernel_gap_s", "host_layer_s", "host_moe_s", "microbatch_s", "step_s"),
    *("contention", "tp_factor", "dp_factor", "shard_rank_s", "reduce_slowdown"),
    *("start_s", "hop_s", "tree_start_s", "tree_hop_s", "peer_s", "relay_s", "copy_share"),
}
_LESS_IS_WORSE = {
    *("sustained", "sustained_8bit", "sustained_attention", "memory_efficiency", "flash1_share"),
    *("kernel_efficiency", "scaled_efficiency", "four_bit_efficiency"),
    *("overlap_dp", "overlap_tp", "overlap_ep", "overlap_pp"),
    *("efficiency", "tree_efficiency", "all_to_all_efficiency", "send_efficiency", "multicast_efficiency"),
}


N = TypeVar("N", AcceleratorNumbers, StackNumbers, LinkLevel)


def pessimistic(cluster: Cluster, stack_id: str) -> Calibration:
    """Return the fitted numbers for a cluster and a stack, each at the bad end of its range.

    Efficiencies and overlaps at the low end, latencies, slowdowns and fixed times at the high end of the range that
    stands beside them in ``data/fitted``; numbers of networks that rows decided, and that have no range, are worse by
    their 90th-percentile error, or stay where no error is known either. Kernels by themselves stay as they were
    measured: what they lose in a long run is in what the accelerator sustains.

    Approximations
    --------------
    All numbers are bad at once, which is less likely than each by itself.
    """
    usual, record, chip_id = calibration(cluster, stack_id), training_record(), cluster.accelerator.id
    chip = _ranges([record.accelerator["prior"], *accelerator_blocks(chip_id)])
    software = _ranges([record.stack["prior"], *stack_blocks(stack_id, chip_id)])
    return replace(
        usual,
        chip=_worse(usual.chip, chip),
        stack=_worse(usual.stack, software),
        links=_worse_links(usual.links, cluster),
    )


def _ranges(blocks: Sequence[FittedBlock]) -> dict[str, float]:
    """Return how much worse each number may be than it is, as a ratio: of its own range, else of those before it."""
    ratios: dict[str, float] = {}
    for block in blocks:
        ratios |= {field: ratio for field, ratio in _of_block(block).items() if field in block.low}
    return ratios


def _of_block(block: FittedBlock) -> dict[str, float]:
    """Return the bad end of each number of a block over its value, by range or else by error."""
    found = {}
    for name, value in block.values.items():
        if not value or name not in _MORE_IS_WORSE | _LESS_IS_WORSE:
            continue
        error = 1 + (block.p90_error or 0)
        if name in _MORE_IS_WORSE:
            found[name] = block.high[name] / value if name in block.high else error
        else:
            found[name] = block.low[name] / value if name in block.low else 1 / error
    return found


def _worse(numbers: N, ratios: Mapping[str, float]) -> N:
    """Return numbers worse by these ratios."""
    return replace(numbers, **{name: getattr(numbers, name) * ratio for name, ratio in ratios.items()})


def _worse_links(links: Links, cluster: Cluster) -> Links:
    pairs = zip(links.levels, link_blocks(cluster), strict=True)
    return Links(tuple(_worse(level, _of_block(block)) for level, block in pairs))
