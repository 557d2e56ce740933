"""Models from the config.json files of Hugging Face."""

from walltime.interop.huggingface.read import FAMILIES, Imported, is_config, read_config

__all__ = ["FAMILIES", "Imported", "is_config", "read_config"]
