"""Collectives by themselves: bus bandwidth and latency on 4 to 512 nodes of H100s, the paper's points beside ours."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from walltime.arrays import Floats
from walltime.engines.calibration import Links, network_links
from walltime.hardware import cluster
from walltime.studies.fernandez2024.published import all_reduce_points
from walltime.studies.figure import Figure, Panel, Series

NODES = (4, 8, 16, 32, 64, 128, 256, 512)
SHOWN_NODES = (4, 16, 64, 512)
SMALLEST, LARGEST = 2**9, 2**34
SIZES = tuple(2**power for power in range(9, 35))
CLUSTER = "h100-sxm"
KINDS: dict[str, str] = {"all_reduce": "AllReduce", "all_gather": "AllGather", "reduce_scatter": "ReduceScatter"}


def time_s(kind: str, nodes: int, size_bytes: float) -> float:
    """Time of a collective over all accelerators of some nodes; messages as nccl-tests has them. [s]"""
    links = _links()
    span = (np.array([float(ranks(1))]), np.array([float(nodes)]))
    of_kind: dict[str, Callable[[float, tuple[Floats, ...]], Floats]] = {
        "all_reduce": links.all_reduce_time_s,
        "all_gather": links.all_gather_time_s,
        "reduce_scatter": links.reduce_scatter_time_s,
    }
    return float(of_kind[kind](size_bytes, span)[0])


@functools.cache
def _links() -> Links:
    return network_links(cluster(CLUSTER))


@functools.cache
def ranks(nodes: int) -> int:
    """Accelerators of some nodes."""
    return nodes * cluster(CLUSTER).network.level_sizes[0]


def bus_bytes_per_s(kind: str, nodes: int, size_bytes: float, taken_s: float) -> float:
    """Bus bandwidth by nccl-tests: bytes of the message over time, times what each link carries of it. [B/s]"""
    passes = 2 if kind == "all_reduce" else 1
    return size_bytes / taken_s * passes * (ranks(nodes) - 1) / ranks(nodes)


def rows() -> list[dict[str, Any]]:
    """Return every collective, number of nodes and size."""
    return [_row(kind, nodes, size) for kind in KINDS for nodes in NODES for size in SIZES]


def _row(kind: str, nodes: int, size: int) -> dict[str, Any]:
    taken_s = time_s(kind, nodes, size)
    bus = bus_bytes_per_s(kind, nodes, size, taken_s)
    paper = all_reduce_points().get((nodes, size)) if kind == "all_reduce" else None
    return {
        "collective": kind,
        "cluster": CLUSTER,
        "num_nodes": nodes,
        "num_gpus": ranks(nodes),
        "size_bytes": size,
        "time_s": taken_s,
        "algorithm_bytes_per_s": size / taken_s,
        "bus_bytes_per_s": bus,
        "latency_s": time_s(kind, nodes, SMALLEST),
        "paper_bus_bytes_per_s": paper,
        "time_deviation": None if paper is None else paper / bus - 1,
    }


def deviations() -> list[float]:
    """Return our times over those of the paper's all-reduce figure, minus one."""
    found = []
    for (nodes, size), paper in all_reduce_points().items():
        found.append(paper / bus_bytes_per_s("all_reduce", nodes, size, time_s("all_reduce", nodes, size)) - 1)
    return found


def collectives() -> Figure:
    """Bus bandwidth against size: all-reduce with the paper's points, all-gather and reduce-scatter."""
    table = rows()
    shown = {"all_reduce": "AllReduce", "all_gather": "AllGather, ReduceScatter"}
    panels = tuple(Panel(name, tuple(_curves(kind, table))) for kind, name in shown.items())
    off = np.abs(deviations())
    caption = (
        f"H100s in nodes of {ranks(1)}. Lines are ours, points of the same colour were read off the paper’s figure "
        f"(about ±5 GB/s); our tree between nodes was fitted on them and on three users’ measurements: they are "
        f"met within {100 * np.median(off):.1f} % in time in the median and {100 * off.max():.0f} % at the worst. "
        "AllGather and ReduceScatter go round a ring, whose steps wait for each other: no published measurement of "
        "theirs between nodes was there to fit, so that their latency is an estimate. The two cost the same here, and "
        "share a panel."
    )
    return Figure(
        "collectives",
        "Collectives: bus bandwidth against message size",
        caption,
        "message [bytes]",
        "bus bandwidth [GB/s]",
        panels,
        tuple(table),
        x_log=True,
        x_ticks=((2**10, "1 KiB"), (2**20, "1 MiB"), (2**30, "1 GiB")),
        y_limits=(0, 400),
    )


def _curves(kind: str, table: list[dict[str, Any]]) -> Iterator[Series]:
    for nodes in SHOWN_NODES:
        curve = [row for row in table if (row["collective"], row["num_nodes"]) == (kind, nodes)]
        sizes = tuple(row["size_bytes"] for row in curve)
        yield Series(f"{nodes} nodes, ours", sizes, tuple(row["bus_bytes_per_s"] / 1e9 for row in curve), points=False)
    if kind == "all_reduce":
        for nodes in SHOWN_NODES:
            seen = sorted((size, rate) for (of, size), rate in all_reduce_points().items() if of == nodes)
            xs, ys = zip(*seen, strict=True)
            ours = f"{nodes} nodes, ours"
            yield Series(f"{nodes} nodes, the paper", xs, tuple(rate / 1e9 for rate in ys), line=False, like=ours)


def collective_latency() -> Figure:
    """Time of a message of 512 bytes against nodes: linear by ring, logarithmic by tree."""
    table = [row for row in rows() if row["size_bytes"] == SMALLEST]
    series = []
    for kind in ("all_reduce", "all_gather"):
        curve = [row for row in table if row["collective"] == kind]
        name = "AllReduce (tree)" if kind == "all_reduce" else "AllGather, ReduceScatter (ring)"
        xs, ys = tuple(row["num_nodes"] for row in curve), tuple(row["time_s"] * 1e3 for row in curve)
        series.append(Series(name, xs, ys))
    hop_us = _links().levels[-1].hop_s * 1e6
    growth = [time_s(kind, NODES[-1], SMALLEST) / time_s(kind, NODES[0], SMALLEST) for kind in KINDS]
    caption = (
        f"From {NODES[0]} to {NODES[-1]} nodes, {NODES[-1] // NODES[0]} times as many, the latency of an AllReduce "
        f"grows {growth[0]:.1f}-fold, with the logarithm; that of an AllGather {growth[1]:.0f}-fold, with the number "
        f"of ranks: each node adds {hop_us:g} µs for the step between nodes and its own steps inside. This asymmetry "
        "is what ends the scaling of FSDP, which gathers and scatters every layer."
    )
    ticks = tuple((nodes, str(nodes)) for nodes in NODES)
    return Figure(
        "collective_latency",
        "Latency of collectives against nodes",
        caption,
        f"nodes of {ranks(1)} H100s",
        f"time of {SMALLEST} bytes [ms]",
        (Panel("", tuple(series)),),
        tuple(table),
        y_log=True,
        x_ticks=ticks,
    )


__all__ = ["KINDS", "NODES", "collective_latency", "collectives", "deviations", "rows", "time_s"]
