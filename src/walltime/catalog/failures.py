"""``failures.toml``: how often accelerators and nodes fail, and what a training needs to go on."""

import functools

import msgspec

from walltime.catalog.calibrations import kin_of
from walltime.catalog.loader import convert, data_root, read_toml
from walltime.catalog.schema import Number, _Record

DEFAULT = "default"
"""The parts of accelerators of which nothing is known."""


class PartsRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Mean time between failures of one accelerator, and of everything else for each node. [s]"""

    gpu_mtbf_s: Number
    node_mtbf_s: Number


class RecoveryRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long it takes to find a failure, to start again, and to mend a node. [s]"""

    detection_s: Number
    startup_s: Number
    repair_s: Number


class CheckpointRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How fast checkpoints leave accelerators [B/s], and by what they stop training besides [s]."""

    storage_bytes_per_s_per_gpu: Number
    host_bytes_per_s: Number
    pause_s: Number


class StragglersRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """By what share a slow node is slower, how long until a node is slow [s], and until it is replaced [s]."""

    slow_by: Number
    slow_mtbf_s: Number
    eviction_s: Number


class PublishedRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was published of one training or cluster, in the units of its names."""

    name: str
    accelerator: str
    numbers: dict[str, Number]
    causes: dict[str, Number] = {}


class FailuresRecord(_Record, frozen=True):
    """``failures.toml``."""

    parts: dict[str, PartsRecord]
    family: dict[str, str]
    gpus_per_node: dict[str, Number]
    recovery: RecoveryRecord
    checkpoint: CheckpointRecord
    stragglers: StragglersRecord
    published: dict[str, PublishedRecord]

    def parts_of(self, accelerator: str) -> PartsRecord:
        """Return how often an accelerator and its node fail: its own numbers, its family's, or the default's."""
        kin = kin_of(accelerator)
        return self.parts.get(self.family.get(kin, kin), self.parts[DEFAULT])


@functools.cache
def failures_record() -> FailuresRecord:
    """Return what is known of failures."""
    path = data_root() / "failures.toml"
    return convert(read_toml(path), FailuresRecord, path)
