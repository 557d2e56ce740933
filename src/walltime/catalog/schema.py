"""The shape of the files in ``data/``: one record a kind of file, and the provenance rules of a number."""

import datetime
from typing import Any, Literal

import msgspec

Kind = Literal["datasheet", "paper", "measured", "derived", "estimate"]


class SecondSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an independent source says of the same number."""

    value: float | bool
    source: str
    locator: str
    note: str = ""
    as_quoted: str = ""


class Number(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number beside its provenance.

    A ``datasheet``, ``paper`` or ``measured`` number names a source (a key of ``sources.bib``) and where in it;
    a ``derived`` one or an ``estimate`` says how in ``note``, and an estimate has a ``low`` and a ``high``.
    """

    value: float | bool
    kind: Kind
    source: str = ""
    locator: str = ""
    note: str = ""
    as_quoted: str = ""
    low: float | None = None
    high: float | None = None
    second: SecondSource | None = None

    def __post_init__(self) -> None:
        """Enforce the provenance rules, so that a file that breaks one cannot be loaded."""
        if self.kind in ("datasheet", "paper", "measured") and not (self.source and self.locator):
            raise ValueError(f"a {self.kind} number needs `source` and `locator`")
        if self.kind in ("derived", "estimate") and not self.note:
            raise ValueError(f"a {self.kind} number needs a `note`")
        if self.kind == "estimate":
            if self.low is None or self.high is None:
                raise ValueError("an estimate needs `low` and `high`")
            if not self.low <= self.value <= self.high:
                raise ValueError("an estimate's value lies between `low` and `high`")


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: Literal[1]

    def numbers(self) -> dict[str, Number]:
        """Every number of this record by its path (``peak_flop_per_s.bf16``, ``level.0.latency_s``)."""
        return dict(_walk(self, ""))


def _walk(node: Any, path: str) -> Any:
    if isinstance(node, Number):
        yield path, node
    elif isinstance(node, msgspec.Struct):
        for name in node.__struct_fields__:
            yield from _walk(getattr(node, name), f"{path}.{name}" if path else name)
    elif isinstance(node, dict):
        for name, child in node.items():
            yield from _walk(child, f"{path}.{name}" if path else name)
    elif isinstance(node, list | tuple):
        for i, child in enumerate(node):
            yield from _walk(child, f"{path}.{i}")


class AcceleratorRecord(_Record, frozen=True):
    """``accelerators/<id>.toml``: what a datasheet says of one accelerator. Peaks are dense."""

    id: str
    name: str
    vendor: str
    usual_cluster: str
    hbm_bytes: Number
    hbm_bytes_per_s: Number
    l2_bytes: Number
    num_sms: Number
    max_clock_hz: Number
    register_bytes_per_sm: Number
    register_blocks_per_sm: Number
    shared_memory_bytes_per_clock_per_sm: Number
    distributed_shared_memory: Number
    peak_flop_per_s: dict[str, Number]
    aliases: list[str] = []
    released: datetime.date | None = None
    power_w: Number | None = None
    notes: str = ""


class EfficiencyRecord(_Record, frozen=True):
    """``efficiencies/<id>.toml``: what an accelerator achieves, which no datasheet says."""

    accelerator: str
    achievable_fraction: Number
    l2_bytes_per_s: Number
    matmul_latency_s: Number


class LevelRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One level of a network; bandwidth per accelerator and per direction."""

    name: str
    bytes_per_s: Number
    latency_s: Number
    size: int | None = None


class NetworkRecord(_Record, frozen=True):
    """``networks/<id>.toml``: levels from the innermost outwards; the last has no size."""

    id: str
    name: str
    level: list[LevelRecord]

    def __post_init__(self) -> None:
        """Check the level list: sizes for all but the last."""
        if not self.level:
            raise ValueError("a network needs at least one [[level]]")
        if any(level.size is None or level.size < 1 for level in self.level[:-1]):
            raise ValueError("every level but the last needs a `size` of at least 1")
        if self.level[-1].size is not None:
            raise ValueError("the last level is open-ended and has no `size`")


class Citation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where something that is not a number comes from."""

    source: str
    locator: str
    note: str = ""


class ClusterRecord(_Record, frozen=True):
    """``clusters/<id>.toml``: an accelerator and the network that usually joins it."""

    id: str
    name: str
    accelerator: str
    network: str
    aliases: list[str] = []
    sources: list[Citation] = []
    notes: str = ""


class ModelRecord(_Record, frozen=True):
    """``models/<id>.toml``: the dimensions of a published transformer, and the size that its publisher gives.

    The dimensions are facts from one source. What they are called, and which are needed, is said where they are
    used: `walltime.workload.Transformer`. ``published_parameters`` leaves multi-token-prediction layers out.
    """

    id: str
    name: str
    source: str
    locator: str
    published_parameters: Number
    dimensions: dict[str, int | bool | str]
    aliases: list[str] = []
    notes: str = ""


class StudyRecord(_Record, frozen=True):
    """``study.toml`` of a parameter set: the constants of its model, by table and name."""

    id: str
    name: str
    constants: dict[str, dict[str, Number]]

    def values(self, table: str) -> dict[str, float]:
        """The plain floats of one table."""
        return {name: float(number.value) for name, number in self.constants[table].items()}


class PriceRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One list price of a rented accelerator, and of when it is or when it was read."""

    accelerator: str
    date: datetime.date
    usd_per_gpu_hour: Number


class PurchaseRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one accelerator cost to buy, and when: with its share of a server, or alone."""

    accelerator: str
    what: str
    date: datetime.date
    usd_per_gpu: Number
    with_server: bool = True


class OwnershipRecord(_Record, frozen=True):
    """``ownership.toml``: what is paid for accelerators that are owned, besides what they cost."""

    network_share: Number
    server_per_accelerator: Number
    years: Number
    residual_share: Number
    interest_per_year: Number
    maintenance_per_year: Number
    hosting_usd_per_kw_month: Number
    provisioned_per_board_limit: Number
    electricity_usd_per_kwh: Number
    used_share: Number
    purchase: list[PurchaseRecord]


class PricesRecord(_Record, frozen=True):
    """``prices.toml``: list prices of rented accelerators."""

    price: list[PriceRecord]


class AccuracyRecord(_Record, frozen=True):
    """``accuracy.toml``: errors of predicted step times over all measured sources, each weighing the same."""

    step_time_median_error: Number
    step_time_p90_error: Number
    mean_regret: Number
    memory_median_error: Number


class DrawRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an accelerator draws, as shares of its board power limit; what is not said is that of the default."""

    idle_share: Number | None = None
    compute_share: Number | None = None
    memory_bound_share: Number | None = None
    communication_share: Number | None = None


class NodeRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node: the most that all of it draws. The first of its accelerators is the one that it was rated with."""

    name: str
    accelerators: list[str]
    num_accelerators: int
    max_w: Number


class FabricRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Switches and optics between nodes: a port of a switch and an end of a link [W], and how many levels are usual."""

    switch_ports: Number
    port_bytes_per_s: Number
    port_w: Number
    transceiver_w: Number
    usual_levels: Number


class SiteRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where accelerators stand: what the building takes besides, and what a kWh emits."""

    pue: Number
    grid_kg_per_kwh: Number


class PowerRecord(_Record, frozen=True):
    """``power.toml``: what accelerators, nodes and networks draw, and what building and grid make of it.

    ``limit_not_known`` are accelerators whose limit is not that of the one that they are based on.
    """

    limit_not_known: list[str]
    default: DrawRecord
    accelerator: dict[str, DrawRecord]
    host_fraction: Number
    node: dict[str, NodeRecord]
    fabric: FabricRecord
    site: SiteRecord
    grid: dict[str, Number]

    def __post_init__(self) -> None:
        """The default has all four draws, and nodes have accelerators."""
        if any(getattr(self.default, name) is None for name in self.default.__struct_fields__):
            raise ValueError("`default` needs " + ", ".join(self.default.__struct_fields__))
        if any(node.num_accelerators < 1 or not node.accelerators for node in self.node.values()):
            raise ValueError("a node needs `accelerators` and a `num_accelerators` of at least 1")
