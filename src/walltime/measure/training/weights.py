"""First weights that depend on the seed and a parameter's name alone, so that any plan starts from the same model."""

from hashlib import blake2b
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

SPREAD = 0.02
"""Standard deviation of the matrices' first values, as GPT-2 and those after it have it (Radford et al. 2019)."""


def give_weights(module: nn.Module, prefix: str, seed: int, device: Any) -> None:
    """Replace a module's parameters on the meta device by their first values on a device, in place.

    Each is made whole, one after another, and only a rank's share of it kept.

    Parameters
    ----------
    module
        Whole, or split over tensor-parallel ranks.
    prefix
        Name of the module in the whole model, with a dot at its end; empty for the model itself.
    seed
        Of the whole model.
    device
        Where parameters are.
    """
    made: dict[int, nn.Parameter] = {}
    for name, owner in list(module.named_modules()):
        for leaf, empty in list(owner.named_parameters(recurse=False, remove_duplicate=False)):
            if not empty.is_meta:
                continue
            if id(empty) not in made:
                path = f"{prefix}{name}.{leaf}" if name else f"{prefix}{leaf}"
                made[id(empty)] = _parameter(empty, path, seed, device)
            owner.register_parameter(leaf, made[id(empty)])


def _parameter(empty: Any, path: str, seed: int, device: Any) -> nn.Parameter:
    whole = first_values(path, empty.shape, seed, device)
    if isinstance(empty, DTensor):
        return nn.Parameter(distribute_tensor(whole, empty.device_mesh, empty.placements, src_data_rank=None))
    return nn.Parameter(whole)


def first_values(path: str, shape: Any, seed: int, device: Any) -> Any:
    """Return a parameter's first values: ones for a norm, zeros for biases and sinks, else normally distributed."""
    owner, _, leaf = path.rpartition(".")
    if owner.endswith("norm") and leaf == "weight":
        return torch.ones(shape, device=device)
    if leaf.endswith("bias") or leaf == "sinks":
        return torch.zeros(shape, device=device)
    generator = torch.Generator(device)
    generator.manual_seed(number_of(path, seed))
    return torch.randn(shape, generator=generator, device=device).mul_(SPREAD)


def number_of(name: str, seed: int) -> int:
    """Return a seed for one thing that has a name."""
    return int.from_bytes(blake2b(f"{seed} {name}".encode(), digest_size=7).digest())
