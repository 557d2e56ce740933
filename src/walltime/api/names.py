"""Models and clusters by name or from files, and what is taken where nothing is said."""

import re
import warnings
from collections.abc import Iterable
from pathlib import Path

from walltime import hardware
from walltime.catalog import DATASHEET, ModelRecord, parameter_set
from walltime.catalog.calibrations import calibration_record
from walltime.engines import Assumptions
from walltime.hardware import Cluster
from walltime.interop import huggingface
from walltime.limits import RunFamily
from walltime.problems import BadInput
from walltime.search import Space
from walltime.units import LARGEST_SIZE, whole, whole_in
from walltime.workload import MlpStack, Transformer
from walltime.workload.catalog import transformer as _catalog_transformer
from walltime.workload.catalog import transformer_from_file

PREFERRED = "Erdil2024"
"""The parameter set whose numbers are taken for an accelerator that it has."""


USUAL_SEQ_LEN = 4096
"""Sequence length where none is given and the model has no table of positions that says. [tokens]"""
USUAL_BATCH_TOKENS = (
    2**22
)  # touvron2023llama2, table 1: "All models are trained with a global batch-size of 4M tokens."
"""Tokens of a step where a scaling names no batch. [tokens]"""
USUAL_STACK = "megatron-core"
"""The software that trains real models where none is named."""
_CLOSE_ENOUGH = 0.05  # tokens of a batch are rounded by at most this share


def usual_stack(clusters: Iterable[Cluster]) -> str:
    """Return the software where none is named: what calibrated clusters were measured with, or the usual one."""
    records = [calibration_record(cluster.accelerator.id) for cluster in clusters]
    fitted = [list(record.stack) if record else [] for record in records]
    alone = fitted and len(fitted[0]) == 1 and all(each == fitted[0] for each in fitted)
    return fitted[0][0] if alone else USUAL_STACK


def model(
    name: str,
    *,
    sparsity: str = "dense",
    batch_law: str = "default",
    seq_len: int | None = None,
    **sizes: int | None,
) -> MlpStack | Transformer:
    """Return a model: of the catalog (``llama-3.1-405b``), of a file, or the theory's of a width (``mlp-53248``).

    Parameters
    ----------
    name
        A name of the catalog, the path of a Hugging Face ``config.json`` or of its folder
        (`walltime.interop.huggingface.read_config`; what to mind is warned of), of a TOML file
        (`walltime.workload.catalog.transformer_from_file`), or ``mlp-`` and d_model.
    sparsity, batch_law, seq_len
        Of the theory's models only: the family of runs that depth, experts and batch come from.
    sizes
        Of the theory's models only: ``d_ff``, ``num_layers``, ``num_experts`` or ``batch_tokens`` instead of the
        family's.

    Raises
    ------
    BadInput
        Another name, an unknown law, a size below 1, a law or a size for a real model.
    """
    if is_theory(name):
        return theory_model(name, sparsity=sparsity, batch_law=batch_law, seq_len=seq_len, **sizes)
    if (sparsity, batch_law, seq_len) != ("dense", "default", None) or any(size is not None for size in sizes.values()):
        raise BadInput(f"{name} has its own dimensions: laws and sizes are for mlp-D. seq_len belongs to the estimate.")
    made, notes = real_model(name)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return made


def real_model(name: str) -> tuple[Transformer, tuple[str, ...]]:
    """Return a model of the catalog or of a file, and what to mind about the file, a line each."""
    if not is_path(name):
        return _catalog_transformer(name), ()
    path = Path(name)
    if huggingface.is_config(path):
        imported = huggingface.read_config(path)
        return imported.model, imported.notes
    if path.suffix != ".toml" and not path.exists():
        raise BadInput(
            f"unknown model {name!r}: neither in the catalog (walltime show models) nor a file. Nothing is "
            "downloaded. Valid: the path of its config.json."
        )
    return transformer_from_file(path), ()


def is_theory(name: str) -> bool:
    """Whether a model's name is one of the theory's, or meant to be."""
    return name.lower().startswith("mlp")


def is_path(name: str) -> bool:
    """Whether a model's name is that of a file or a folder; ``meta-llama/Llama-3.1-405B`` is a name of the catalog."""
    if name.endswith((".toml", ".json")):
        return True
    if "/" not in name and not (Path(name) / "config.json").is_file():
        return False
    return parameter_set(DATASHEET).find(ModelRecord, name) is None


def theory_model(
    name: str,
    *,
    sparsity: str = "dense",
    batch_law: str = "default",
    seq_len: int | None = None,
    **sizes: int | None,
) -> MlpStack:
    """Return the theory's model of a width; arguments as for `model`."""
    match = re.fullmatch(r"mlp-(\d+)", name)
    if not match:
        raise BadInput(f"unknown model {name!r} for the engine erdil. Valid: mlp-D with D = d_model (mlp-53248).")
    d_model = whole_in(match[1], "d_model", LARGEST_SIZE)
    given = {field: whole(size, field, LARGEST_SIZE) for field, size in sizes.items() if size is not None}
    made = RunFamily(sparsity, batch_law, seq_len=seq_len).model(d_model, **given)
    if "batch_tokens" in given and made.batch_tokens % made.num_experts:
        raise BadInput(f"batch_tokens={made.batch_tokens} must be a multiple of num_experts={made.num_experts}.")
    return made


def cluster(
    name: str,
    num_gpus: int | None = None,
    *,
    parameters: str | None = None,
    precision: str | None = None,
    settings: Iterable[str] = (),
) -> Cluster:
    """Return a cluster by name or from a TOML file.

    Parameters
    ----------
    name
        A cluster or accelerator of the catalog, or the path of a TOML file (`walltime.hardware.cluster_from_file`).
    num_gpus
        How many accelerators.
    parameters
        Whose numbers: a parameter set or ``datasheet``. By default Erdil2024 for accelerators that it has.
    precision
        A number format of the accelerator; 16-bit by default.
    settings
        What if? For example ``["network.latency=0.5x"]`` (`walltime.hardware.override`).
    """
    if name.endswith(".toml") or "/" in name:
        chosen = hardware.cluster_from_file(Path(name), parameters, precision)
    else:
        numbers = parameters or hardware.resolve_parameters(name, PREFERRED)
        chosen = hardware.cluster(name, parameters=numbers, precision=precision)
    chosen = hardware.override(chosen, settings)
    return chosen if num_gpus is None else chosen.with_num_gpus(num_gpus)


def usual_seq_len(model: Transformer) -> int:
    """Return the sequence length that is taken where none is given: as many positions as are learned, or 4,096."""
    return model.num_positions or USUAL_SEQ_LEN


def usual_batch_seqs(seq_len: int) -> int:
    """Return the sequences of a step that a scaling takes where no batch is named: about 4M tokens, at least one."""
    return seqs_of_tokens(max(USUAL_BATCH_TOKENS, seq_len), seq_len)


def seqs_of_tokens(batch_tokens: float, seq_len: int) -> int:
    """Return about as many sequences as hold the tokens of a step: a number that many degrees divide."""
    wanted = batch_tokens / seq_len
    seqs, piece = round(wanted), 1
    while abs((rounded := round(wanted / (2 * piece)) * 2 * piece) / wanted - 1) <= _CLOSE_ENOUGH:
        piece, seqs = 2 * piece, rounded
    return seqs


def usual_space(assumptions: Assumptions) -> str:
    """Return the space of plans that goes with a reading: the full one if all defects are mended."""
    return "full" if assumptions.is_corrected else "published"


def reading(assumptions: str | Assumptions, space: str | None) -> tuple[Assumptions, Space]:
    """Return how the model is read and which plans are tried."""
    read = Assumptions.named(assumptions) if isinstance(assumptions, str) else assumptions
    return read, Space(space or usual_space(read))
