"""Pessimistic numbers are the fitted ones at the bad end of their ranges."""

from dataclasses import fields, replace

import pytest

from walltime import hardware
from walltime.catalog.fitted import links_record, training_record
from walltime.catalog.stacks import stack_ids
from walltime.engines.calibration import calibration
from walltime.engines.pessimism import pessimistic

CHIPS = ("h100-sxm", "a100-sxm-80gb", "b200", "mi300x", "h20", "gb200", "v100-sxm-32gb", "h800", "tpu-v5p")
RISING = (
    *("dropout_slowdown", "memory_factor", "kernel_gap_s", "host_layer_s", "host_moe_s", "microbatch_s", "step_s"),
    *("contention", "tp_factor", "shard_rank_s"),
)
UNRANGED = ("dp_factor", "reduce_slowdown")
"""1 in the catalog: only calibrations of single machines decide them, with a range."""
SAME = ("bytes_per_s", "mesh_ranks", "max_rails")
"""Facts about a network."""


def numbers(one):
    return {field.name: getattr(one, field.name) for field in fields(one)}


def known(chip):
    return hardware.cluster(chip, 64)


def rises(name):
    return name in RISING or name == "copy_share" or (name.endswith("_s") and name not in SAME)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("stack_id", stack_ids())
def test_every_number_is_worse_and_within_its_range(chip, stack_id):
    usual, worse = calibration(known(chip), stack_id), pessimistic(known(chip), stack_id)
    record = training_record()
    blocks = {"chip": (record.accelerator, record.family_of(chip)), "stack": (record.stack, stack_id)}
    for part, (of, name) in blocks.items():
        before, after = numbers(getattr(usual, part)), numbers(getattr(worse, part))
        for field, value in before.items():
            if field in UNRANGED:
                assert after[field] == value, field
            elif rises(field):
                assert after[field] > value, field
            else:
                assert 0 < after[field] < value, field
        own = of.get(name, of["default"])
        for field in own.low:
            end = own.high if rises(field) else own.low
            assert after[field] == pytest.approx(end[field], rel=1e-9), field


@pytest.mark.parametrize("chip", CHIPS)
def test_every_number_of_a_network_is_worse_and_within_its_range(chip):
    cluster = known(chip)
    usual, worse = calibration(cluster, "generic").links.levels, pessimistic(cluster, "generic").links.levels
    for before, after, block in zip(usual, worse, links_record(cluster.network.id).level, strict=True):
        for field, value in numbers(before).items():
            pessimist = getattr(after, field)
            end = (block.high if rises(field) else block.low).get(field)
            if field in SAME + UNRANGED or value == 0 or (end is None and not block.p90_error):
                assert pessimist == value, field
            elif end is not None:
                assert pessimist == pytest.approx(end), field
            else:
                assert pessimist > value if rises(field) else 0 < pessimist < value, field


def test_what_was_set_for_a_cluster_stays():
    """A network twice as fast is twice as fast in pessimism too."""
    twice = hardware.override(known("h100-sxm"), ["network.bandwidth=2x", "network.latency=0.5x"])
    usual, changed = pessimistic(known("h100-sxm"), "generic"), pessimistic(twice, "generic")
    for before, after in zip(usual.links.levels, changed.links.levels, strict=True):
        assert after == replace(
            before,
            bytes_per_s=2 * before.bytes_per_s,
            **{name: getattr(before, name) / 2 for name in ("start_s", "hop_s", "tree_start_s", "tree_hop_s")},
            **{name: getattr(before, name) / 2 for name in ("peer_s", "relay_s")},
        )
