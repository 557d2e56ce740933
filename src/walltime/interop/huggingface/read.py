"""A Hugging Face config.json, read from the disk, to a `Transformer`. Nothing is downloaded."""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from walltime.catalog import read_toml
from walltime.catalog.loader import data_root
from walltime.interop.huggingface import classic, dense, moe
from walltime.interop.huggingface.keys import Json, Keys
from walltime.interop.huggingface.parts import Fields
from walltime.problems import BadInput, unknown
from walltime.units import shortened
from walltime.workload import Transformer

FAMILIES: dict[str, Callable[[Keys], Fields]] = {
    "bloom": classic.bloom,
    "deepseek_v2": moe.deepseek_v2,
    "deepseek_v3": moe.deepseek_v3,
    "falcon": classic.falcon,
    "gemma": dense.gemma,
    "gemma2": dense.gemma2,
    "gemma3_text": dense.gemma3,
    "glm4_moe": moe.glm4_moe,
    "gpt2": classic.gpt2,
    "gpt_bigcode": classic.gpt_bigcode,
    "gpt_neox": dense.gpt_neox,
    "gpt_oss": moe.gpt_oss,
    "gptj": classic.gptj,
    "granite": dense.llama,
    "kimi_k2": moe.deepseek_v3,
    "llama": dense.llama,
    "llama4_text": moe.llama4,
    "mistral": dense.mistral,
    "mixtral": moe.mixtral,
    "mpt": classic.mpt,
    "nemotron": dense.nemotron,
    "olmo2": dense.olmo2,
    "opt": classic.opt,
    "phi": dense.phi,
    "phi3": dense.mistral,
    "qwen2": dense.qwen2,
    "qwen2_moe": moe.qwen2_moe,
    "qwen3": dense.qwen3,
    "qwen3_moe": moe.qwen3_moe,
    "starcoder2": dense.starcoder2,
}
"""What reads the keys of each ``model_type``."""
_SAME_DEFAULTS = {"kimi_k2": "deepseek_v3"}
_OF_A_CONFIG = ("model_type", "architectures", "text_config")
_OF_A_RUN = ("model", "on")
_FILE = "config.json"


@dataclass(frozen=True)
class Imported:
    """A model read from a config.json, and how.

    Attributes
    ----------
    model
        Its dimensions.
    model_type
        The family that it was read as.
    used, assumed
        Keys of the file that the dimensions come from; keys that it leaves out, with what transformers takes for them.
    ignored
        Keys that change no dimension, or that are not known.
    notes
        What to mind, one line each.
    """

    model: Transformer
    model_type: str
    used: Mapping[str, Any]
    assumed: Mapping[str, Any]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]


def is_config(path: Path) -> bool:
    """Whether a path is of a config.json, or of a folder that should hold one, and not of anything else."""
    if path.is_dir():
        return True
    if path.suffix != ".json":
        return False
    try:
        content = read_json(path)
    except BadInput:
        return True  # to be refused as one
    return any(key in content for key in _OF_A_CONFIG) or not any(key in content for key in _OF_A_RUN)


def read_config(path: Path) -> Imported:
    """Return the model of a config.json, or of a folder that holds one.

    Parameters
    ----------
    path
        The file or its folder.

    Raises
    ------
    BadInput
        The file is missing or broken, its ``model_type`` is not known, a key is missing, has a value of the wrong
        kind, or describes what a `Transformer` cannot; the message names file, key and value.
    """
    file = path / _FILE if path.is_dir() else path
    content = read_json(file)
    part, within, notes = _text_part(content, file)
    family = _family(part, file, within)
    keys = Keys(part, _data()["defaults"][_SAME_DEFAULTS.get(family, family)], str(file), within)
    keys.must_be("is_encoder_decoder", False, "only decoders are")
    model = _model(_name(content, file), FAMILIES[family](keys), str(file))
    notes += _notes(keys, family)
    ignored = tuple(sorted({f"{within}{key}" for key in part.keys() - keys.used.keys() - {"model_type"}}))
    return Imported(model, family, keys.used, keys.assumed, ignored, tuple(f"{file}: {note}" for note in notes))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file whose top is a table; anything else is bad input that names the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            raise BadInput(f"cannot read {str(path)!r}: {error.strerror or error}.") from None
        what = "not a UTF-8 text file" if isinstance(error, UnicodeDecodeError) else f"not valid JSON: {error}"
        raise BadInput(f"{path}: {what}.") from None
    except RecursionError:
        raise BadInput(f"{path}: nested too deeply.") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: must be a JSON object with keys such as model_type, not {shortened(content)}.")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a table of a file, if no key is there twice with two values."""
    table = dict(pairs)
    for key, value in pairs:
        if table[key] is not value and table[key] != value:
            raise ValueError(f"the key {key} is there twice, as {shortened(value)} and {shortened(table[key])}")
    return table


def _text_part(content: Json, file: Path) -> tuple[Json, str, list[str]]:
    """Return the keys of the text model, its name in the file, and a note where there is more than it."""
    text = content.get("text_config")
    if text is None:
        return content, "", []
    if not isinstance(text, dict):
        raise BadInput(f"{file}: text_config={shortened(text)} must be a table.")
    outer = {key: content[key] for key in ("tie_word_embeddings",) if key in content}
    others = [key for key in content if key.endswith("_config") and key not in ("text_config", "quantization_config")]
    without = f", without {', '.join(others)}" if others else ""
    return outer | text, "text_config.", [f"only the text model is taken (text_config){without}"]


def _family(part: Json, file: Path, within: str) -> str:
    name = part.get("model_type")
    if name is None:
        raise BadInput(f"{file}: the key {within}model_type is missing. Valid: {', '.join(FAMILIES)}.")
    if not (isinstance(name, str) and name in FAMILIES):
        raise BadInput(f"{file}: {unknown(within + 'model_type', name, FAMILIES)}")
    return name


def _model(name: str, fields: Fields, where: str) -> Transformer:
    try:
        return Transformer(name, **fields)
    except BadInput as problem:
        raise BadInput(f"{where}: {problem}") from None


def _name(content: Json, file: Path) -> str:
    """Return what the model is called: by the file, else by the file's own name, or its folder's."""
    named = content.get("_name_or_path")
    own = Path(named).name if isinstance(named, str) else ""
    place = file.resolve()
    return " ".join(own.split()) or (place.parent.name if file.name == _FILE else file.stem) or file.stem


def _notes(keys: Keys, family: str) -> list[str]:
    """Return what a reader should know: sizes that the file leaves out, and keys that are not known."""
    notes = []
    sizes = {name: value for name, value in keys.assumed.items() if type(value) is int}
    if sizes:
        notes.append(f"not given, so as {family} has it in transformers: {_listed(sizes)}")
    rest = keys.rest(_data()["ignored"])
    if rest.pop("quantization_config", None):
        notes.append("quantization_config is left out: the precision is that of the estimate")
    _refuse_other_layers(keys, rest)
    if rest:
        notes.append(f"keys of {family} that are not known, and left out: {_listed(rest)}")
    return notes


def _refuse_other_layers(keys: Keys, rest: dict[str, Any]) -> None:
    """Refuse kinds of layers where a family has one kind."""
    types = rest.pop("layer_types", None)
    others = [kind for kind in types if kind != "full_attention"] if isinstance(types, list) else [types]
    if types is not None and others:
        raise keys.refusal("layer_types", others[0], "is not supported. Valid: full_attention.")


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shortened(value)}" for name, value in values.items())


@functools.cache
def _data() -> dict[str, Any]:
    return read_toml(data_root() / "huggingface" / "config.toml")
