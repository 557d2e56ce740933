"""A network as levels: groups of accelerators joined by faster links inside than outside."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from walltime.catalog import NetworkRecord, Number

LARGEST_GROUP = 65_536
"""The most groups that one level may join: every way to share them out among degrees is tried."""


@dataclass(frozen=True)
class Network:
    """Levels from the innermost outwards.

    Attributes
    ----------
    level_names : tuple of str, (levels,)
        For example ``("nvlink", "infiniband")``.
    level_sizes : tuple of int, (levels - 1,)
        How many groups of the level below one group joins; the last level is open-ended.
    bytes_per_s : tuple of float, (levels,)
        Bandwidth of one accelerator, per direction. [B/s]
    latency_s : tuple of float, (levels,)
        Time of one hop beyond what bandwidth explains. [s]
    """

    id: str
    name: str
    level_names: tuple[str, ...]
    level_sizes: tuple[int, ...]
    bytes_per_s: tuple[float, ...]
    latency_s: tuple[float, ...]
    provenance: Mapping[str, Number] = field(default_factory=dict, repr=False, compare=False)

    @property
    def num_levels(self) -> int:
        """How many levels there are."""
        return len(self.level_names)

    @classmethod
    def from_record(cls, record: NetworkRecord) -> "Network":
        """Take the plain numbers out of a catalog record."""
        return cls(
            id=record.id,
            name=record.name,
            level_names=tuple(level.name for level in record.level),
            level_sizes=tuple(level.size for level in record.level if level.size is not None),
            bytes_per_s=tuple(float(level.bytes_per_s.value) for level in record.level),
            latency_s=tuple(float(level.latency_s.value) for level in record.level),
            provenance={f"network.{path}": number for path, number in record.numbers().items()},
        )

    def outward(self) -> "Network":
        """Return a network that is at least as fast at every level, and never faster further out.

        Each level is as fast as the fastest at or beyond it. It is this network itself where links get slower
        outwards, as they usually do.
        """
        levels = range(self.num_levels)
        return replace(
            self,
            bytes_per_s=tuple(max(self.bytes_per_s[level:]) for level in levels),
            latency_s=tuple(min(self.latency_s[level:]) for level in levels),
        )

    def flattened(self) -> "Network":
        """Return one level that is at least as fast as this network for every plan.

        Its bandwidth is the sum over levels and its latency the least of any. A collective whose volume the
        levels share out as a_l takes at least max(a_l / b_l) >= sum(a_l) / sum(b_l) here (a mediant is between
        its parts), traffic that adds up over levels takes longer still, and whoever pays latency pays it at
        one level at least. Search prunes with it.
        """
        return Network(
            id=f"{self.id}-flattened",
            name=f"{self.name}, as one level at best",
            level_names=("all",),
            level_sizes=(),
            bytes_per_s=(math.fsum(self.bytes_per_s),),
            latency_s=(min(self.latency_s),),
        )
