"""One accelerator as plain floats: its datasheet joined with what it achieves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from walltime.catalog import AcceleratorRecord, EfficiencyRecord, Number, ParameterSet
from walltime.problems import unknown

_WORD_BYTES = {"fp64": 8, "fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "fp8": 1}
_USUAL_PRECISIONS = ("bf16", "fp16", "fp32")


@dataclass(frozen=True)
class Accelerator:
    """What a model of matmul time needs to know of one accelerator, at one precision.

    Attributes
    ----------
    peak_flop_per_s
        Dense peak at the highest clock. [FLOP/s]
    achievable_fraction
        Sustained share of the peak in a long run of large matmuls: the plateau of utilisation.
    hbm_bytes, hbm_bytes_per_s
        Memory capacity [B] and bandwidth [B/s].
    l2_bytes, l2_bytes_per_s
        The cache that all cores share: capacity [B] and bandwidth [B/s].
    num_sms, register_blocks_per_sm, register_bytes_per_sm
        Cores, register files a core, and bytes of registers a core. [B]
    shared_memory_bytes_per_clock_per_sm
        Bytes that one core reads from its shared memory in a clock. [B]
    distributed_shared_memory
        Whether cores read each other's shared memory.
    matmul_latency_s
        Fixed time of one matmul. [s]
    word_bytes
        Bytes of one number at this precision. [B]
    provenance
        Where each number is from, by its path in the catalog.
    """

    id: str
    name: str
    precision: str
    peak_flop_per_s: float
    achievable_fraction: float
    hbm_bytes: float
    hbm_bytes_per_s: float
    l2_bytes: float
    l2_bytes_per_s: float
    num_sms: float
    max_clock_hz: float
    register_bytes_per_sm: float
    register_blocks_per_sm: float
    shared_memory_bytes_per_clock_per_sm: float
    distributed_shared_memory: bool
    matmul_latency_s: float
    word_bytes: float
    provenance: Mapping[str, Number] = field(default_factory=dict, repr=False, compare=False)

    @property
    def achievable_flop_per_s(self) -> float:
        """Sustained FLOP/s in large matmuls."""
        return self.achievable_fraction * self.peak_flop_per_s

    @property
    def shared_memory_bytes_per_s(self) -> float:
        """Shared-memory bandwidth of all cores together, at the sustained clock [B/s]."""
        per_clock = self.shared_memory_bytes_per_clock_per_sm * self.num_sms
        return per_clock * self.achievable_fraction * self.max_clock_hz

    @classmethod
    def from_catalog(cls, parameters: ParameterSet, name: str, precision: str | None = None) -> "Accelerator":
        """Join the datasheet and the efficiency record of one accelerator.

        Parameters
        ----------
        parameters
            The parameter set to look in.
        name
            Id, alias or full name.
        precision
            One that the accelerator has; by default 16-bit, or 32-bit where there is none.

        Raises
        ------
        BadInput
            Unknown accelerator, or a precision that it does not have.
        """
        chip = parameters.get(AcceleratorRecord, name)
        achieved = parameters.get(EfficiencyRecord, chip.id)
        offered = [p for p in chip.peak_flop_per_s if p in _WORD_BYTES]
        chosen = precision or next((p for p in _USUAL_PRECISIONS if p in offered), offered[0])
        if chosen not in offered:
            raise unknown(f"precision of {chip.id}", chosen, offered)
        numbers = chip.numbers() | achieved.numbers()
        plain: dict[str, Any] = {
            path: number.value if isinstance(number.value, bool) else float(number.value)
            for path, number in numbers.items()
            if path in cls.__dataclass_fields__ and path != "peak_flop_per_s"
        }
        return cls(
            id=chip.id,
            name=chip.name,
            precision=chosen,
            peak_flop_per_s=float(chip.peak_flop_per_s[chosen].value),
            word_bytes=_WORD_BYTES[chosen],
            provenance=numbers,
            **plain,
        )
