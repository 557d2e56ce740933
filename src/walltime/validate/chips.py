"""Which accelerator and which machine a measured row is about, by stated rules."""

import re
from dataclasses import dataclass

from walltime.catalog import DATASHEET, AcceleratorRecord, parameter_set
from walltime.catalog.calibrations import CalibrationRecord, calibration_record, calibrations_labelled
from walltime.validate.measured import MeasuredRow
from walltime.validate.source_rules import cluster_known

_ACCELERATORS: tuple[tuple[str, str], ...] = (
    (r"gb300", "gb300"),
    (r"gb200", "gb200"),
    (r"gh200", "gh200"),
    (r"b300", "b300"),
    (r"b200.*power.limit", "b200-power-limited"),
    (r"b200", "b200"),
    (r"h200", "h200"),
    (r"h800", "h800"),
    (r"h20\b", "h20"),
    (r"h100.*96", "h100-96gb"),
    (r"h100.*(pcie|nvl\b)", "h100-pcie"),
    (r"h100", "h100-sxm"),
    (r"a800", "a800"),
    (r"a100.*pcie", "a100-pcie-80gb"),
    (r"a100.*40", "a100-sxm-40gb"),
    (r"a100", "a100-sxm-80gb"),  # also where the memory size is not said
    (r"v100.*16", "v100-sxm-16gb"),
    (r"v100", "v100-sxm-32gb"),
    (r"mi355x?", "mi355x"),
    (r"mi300[xa]?", "mi300x"),
    (r"mi250x?", "mi250x"),
    (r"tpu.*v5p", "tpu-v5p"),
)
"""The first pattern that occurs in the row's ``gpu`` (as printed, then as spelled canonically) decides."""
_SUPERCHIPS = ("gb200", "gb300", "gh200")
_USUAL_NODE, _SUPERCHIP_NODE, _NVL72 = 8, 4, 72


@dataclass(frozen=True)
class Machine:
    """The cluster of a measured row.

    Attributes
    ----------
    accelerator
        Its id in the catalog, or that of a calibration.
    gpus_per_node
        Accelerators in one server.
    domain_gpus
        Accelerators that the fast network joins: a server, or a rack of 72 or 36.
    internode_bytes_per_s
        Of the network between servers, for each accelerator and direction; ``None`` means the usual one. [B/s]
    cluster
        The catalog's cluster that the source ran on, where it is known; else the accelerator's usual one.
    """

    accelerator: str
    gpus_per_node: int
    domain_gpus: int
    internode_bytes_per_s: float | None
    cluster: str = ""


def accelerator_of(row: MeasuredRow) -> str | None:
    """Return the id of the row's accelerator, or None if no rule knows it.

    What no rule knows may be named exactly: an accelerator of the catalog, or a machine that one calibration is of.
    """
    for name in (row.gpu, row.gpu_canonical):
        if (accelerator := _by_pattern(name)) is not None:
            return accelerator
    return next((found for name in (row.gpu, row.gpu_canonical) if (found := _named_exactly(name))), None)


def accelerator_called(name: str) -> str | None:
    """Return the id of the accelerator that a device or a row calls so, or None if no rule knows it."""
    return _by_pattern(name) or _named_exactly(name)


def is_another(device: str, accelerator: str, *, is_cpu: bool) -> bool:
    """Whether a device of this name is known to be no such accelerator.

    Parameters
    ----------
    device
        As it calls itself.
    accelerator
        Id in the catalog, or of a calibration. What is neither can be anything.
    is_cpu
        Whether the device is a share of a host's cores, which the catalog has none of: only calibrations do.
    """
    own = calibration_record(accelerator)
    if own is not None and device.lower() in (label.lower() for label in own.labels):
        return False
    found = accelerator_called(device)
    ids = [accelerator] if own is None else [own.id, own.based_on]
    return is_cpu if found is None else not any(f"{each}-".startswith(f"{found}-") for each in ids)


def _by_pattern(name: str) -> str | None:
    lower = name.lower()
    return next((accelerator for pattern, accelerator in _ACCELERATORS if re.search(pattern, lower)), None)


def _named_exactly(name: str) -> str | None:
    if not name:
        return None
    record = parameter_set(DATASHEET).find_own(AcceleratorRecord, name)
    calibrated = calibrations_labelled(name) if record is None else []
    if len(calibrated) == 1:
        return calibrated[0].id
    return None if record is None else record.id


def is_of(row: MeasuredRow, own: CalibrationRecord) -> bool:
    """Whether a row was measured on an accelerator such as a calibration is of: called so, or what it is based on."""
    labels = {label.lower() for label in own.labels}
    return bool({row.gpu.lower(), row.gpu_canonical.lower()} & labels) or accelerator_of(row) in (own.id, own.based_on)


def machine_of(row: MeasuredRow, on: CalibrationRecord | None = None) -> Machine | None:
    """Return the row's cluster: its own columns first, then what its notes say, then the accelerator's usual server.

    Parameters
    ----------
    row
        A measured row.
    on
        A calibration that stands for the row's accelerator, where the row is of such a one.
    """
    if on is not None and is_of(row, on):
        return _calibrated(row, on)
    accelerator = accelerator_of(row)
    if accelerator is None:
        return None
    if (own := calibration_record(accelerator)) is not None:
        return _calibrated(row, own)
    node = row.gpus_per_node or (_SUPERCHIP_NODE if accelerator in _SUPERCHIPS else _USUAL_NODE)
    domain = node
    rack = re.search(r"nvl(36|72)", f"{row.intranode} {row.gpu}".lower())
    if rack:
        domain = int(rack[1])
    elif accelerator in ("gb200", "gb300"):
        domain = _NVL72
    return Machine(accelerator, node, domain, _internode_bytes_per_s(row, node), cluster_known(row.source_id))


def _calibrated(row: MeasuredRow, own: CalibrationRecord) -> Machine:
    """Return the machine of a calibration; the fast network joins what it joined there, or a node, if the row says."""
    sizes = [level.size for level in own.network.level if level.size is not None]
    domain = row.gpus_per_node or (sizes[0] if sizes else _USUAL_NODE)
    return Machine(own.id, domain, domain, _internode_bytes_per_s(row, domain))


def _internode_bytes_per_s(row: MeasuredRow, gpus_per_node: int) -> float | None:
    if row.internode_gbps_per_gpu:
        return row.internode_gbps_per_gpu * 1e9 / 8
    per_node = re.search(r"(\d+(?:\.\d+)?) ?gbps per node", row.text.lower())
    return float(per_node[1]) * 1e9 / 8 / gpus_per_node if per_node else None
