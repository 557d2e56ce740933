"""Calibrations made by hand: a CPU that no datasheet has, and a GPU based on one of the catalog."""

import datetime
import json
from pathlib import Path
from typing import Any

import msgspec

from walltime.catalog import AcceleratorRecord, ClusterRecord, EfficiencyRecord, NetworkRecord, Number, parameter_set
from walltime.catalog.calibrations import CalibrationRecord, Origin, Quality, RowsFile
from walltime.catalog.fitted import FittedBlock, KernelsRecord, LinkBlock, LinksRecord, kernels_record, links_record
from walltime.catalog.schema import DrawRecord, LevelRecord

_ROWS = RowsFile(path="rows.csv", sha256="0" * 64, rows=40)
_ORIGIN = Origin(
    date=datetime.date(2026, 7, 1),
    command="walltime calibrate rows.csv --name NAME",
    walltime="0.6.0",
    data_version="0123456789ab",
    seed=0,
    files=[_ROWS],
    environments=[{"gpu": "made up", "torch": "2.13.0"}],
)
_QUALITY = [Quality(part="step time", rows=40, median_error=0.05, p90_error=0.11, residuals=[0.05, -0.02])]
CPU_NAME = "Made-up Processor, 1 core"


def measured(name: str, value: float) -> Number:
    """A number that the machine's own rows say."""
    return Number(value=value, kind="measured", source=name, locator="rows.csv")


def guessed(value: float) -> Number:
    """A number that rows do not say."""
    return Number(value=value, kind="estimate", note="made up", low=value, high=value)


def fitted(name: str, **values: float) -> FittedBlock:
    """Numbers fitted to the machine's rows."""
    return FittedBlock(kind="fitted", source=name, locator="rows.csv", rows=40, values=values)


def cpu(name: str = "my-cpu", peak: float = 4e10, **changes: Any) -> CalibrationRecord:
    """A processor's core on gloo: nothing of it is in the catalog."""
    chip = AcceleratorRecord(
        schema=1,
        id=name,
        name="Made-up core",
        vendor="nobody",
        usual_cluster=name,
        hbm_bytes=measured(name, 8e9),
        hbm_bytes_per_s=measured(name, 1e10),
        **{field: guessed(1.0) for field in ("num_sms", "register_blocks_per_sm")},
        l2_bytes=guessed(2e6),
        max_clock_hz=guessed(3e9),
        register_bytes_per_sm=guessed(4096),
        shared_memory_bytes_per_clock_per_sm=guessed(64),
        distributed_shared_memory=Number(value=False, kind="derived", note="a CPU"),
        peak_flop_per_s={"fp32": measured(name, peak)},
        aliases=[CPU_NAME],
    )
    matmul = kernels_record("h100-sxm").matmul["bf16"].values
    shape = {"num_cores": 1, "latency_s": 1e-5, "max_efficiency": 0.8, "half_k": 16, "tile_m": 16, "tile_n": 16}
    shape |= {"tile_step": 8, "small_tile_m": 8, "small_tile_n": 8}
    flash = kernels_record("h100-sxm").attention["flash-attention-2"]
    link = dict(links_record("nvlink4-ndr400").level[1].values) | {"start_s": 1e-4}
    level = LevelRecord(name="inside", bytes_per_s=measured(name, 1e9), latency_s=measured(name, 1e-4))
    record = CalibrationRecord(
        schema=1,
        id=name,
        name=f"{name}, measured",
        accelerator=chip,
        efficiency=EfficiencyRecord(
            schema=1,
            accelerator=name,
            achievable_fraction=measured(name, 0.8),
            l2_bytes_per_s=guessed(5e10),
            matmul_latency_s=measured(name, 1e-5),
        ),
        network=NetworkRecord(schema=1, id=name, name="gloo", level=[level]),
        cluster=ClusterRecord(schema=1, id=name, name=f"{name}, measured", accelerator=name, network=name),
        kernels=KernelsRecord(
            schema=1,
            accelerator=name,
            matmul={"fp32": fitted(name, **matmul | shape)},
            attention={"flash-attention-2": msgspec.structs.replace(flash, num_cores=1, latency_s=1e-5)},
        ),
        links=LinksRecord(
            schema=1,
            network=name,
            level=[LinkBlock(name="inside", kind="fitted", source=name, locator="rows.csv", rows=9, values=link)],
        ),
        chip=fitted(name, sustained=0.95, memory_efficiency=0.7),
        stack={"pytorch": fitted(name, host_layer_s=2e-3, step_s=1e-3)},
        origin=_ORIGIN,
        quality=_QUALITY,
    )
    return msgspec.structs.replace(record, **changes)


def gpu(name: str = "my-h100", based_on: str = "h100-sxm", **changes: Any) -> CalibrationRecord:
    """The catalog's accelerator under another id, which draws less and is a little slower."""
    numbers = parameter_set("datasheet")
    chip = numbers.get(AcceleratorRecord, based_on)
    usual = numbers.get(ClusterRecord, chip.usual_cluster)
    network = numbers.get(NetworkRecord, usual.network)
    renamed = msgspec.structs.replace
    record = CalibrationRecord(
        schema=1,
        id=name,
        name=f"{name}, measured",
        based_on=based_on,
        accelerator=renamed(chip, id=name, usual_cluster=name, aliases=["NVIDIA Made-up H100"]),
        efficiency=renamed(numbers.get(EfficiencyRecord, based_on), accelerator=name),
        network=renamed(network, id=name),
        cluster=ClusterRecord(schema=1, id=name, name=f"{name}, measured", accelerator=name, network=name),
        kernels=renamed(kernels_record(based_on), accelerator=name),
        links=renamed(links_record(network.id), network=name),
        draw=DrawRecord(idle_share=measured(name, 0.1)),
        origin=_ORIGIN,
        quality=_QUALITY,
    )
    return renamed(record, **changes)


def written(folder: Path, record: CalibrationRecord) -> Path:
    """Write a calibration's file as `walltime calibrate` does, and return its path."""
    path = folder / f"{record.id}.toml"
    content = msgspec.to_builtins(record)
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in content.items() if value is not None))
    return path


def toml(value: Any) -> str:
    """Return a value in one line of TOML."""
    if isinstance(value, dict):
        items = (f"{json.dumps(key)} = {toml(item)}" for key, item in value.items() if item is not None)
        return "{ " + ", ".join(items) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return json.dumps(value).replace("Infinity", "inf")
