"""Stand-ins for a target's Python packages: their classes take the fields that the real ones have, and no others."""

import json
import sys
import types
from pathlib import Path

DATA = Path(__file__).parents[1] / "data" / "interop"


def tables(name):
    """Fields of a target's dataclasses by the dotted name of the class, with the choices of literal types."""
    read = json.loads((DATA / name).read_text(encoding="utf-8"))
    read.pop("source")
    return read


class Anything:
    """Stands for what an exported module only passes on: ``F.silu``, ``torch.bfloat16``."""

    def __init__(self, name):
        self.name = name

    def __getattr__(self, name):
        return Anything(f"{self.name}.{name}")

    def __repr__(self):
        return self.name


def config_class(name, fields):
    """A class that keeps its arguments, all of which must be fields, with a value among the choices."""

    class Config:
        def __init__(self, **values):
            for key, value in values.items():
                assert key in fields, f"{name} has no field {key}"
                assert fields[key] is None or value in fields[key], f"{name}.{key}={value!r}: {fields[key]}"
            self.__dict__ |= values

    return Config


def install(monkeypatch, table, **others):
    """Put stand-ins for the classes of a table, and other objects by their dotted names, where imports find them."""
    for name, fields in table.items():
        place, _, last = name.rpartition(".")
        if last == "Config":
            place, _, owner = place.rpartition(".")
            put(monkeypatch, place, owner, types.SimpleNamespace(Config=config_class(name, fields)))
        else:
            put(monkeypatch, place, last, config_class(name, fields))
    for name, value in others.items():
        place, _, last = name.rpartition(".")
        put(monkeypatch, place, last, value)


def put(monkeypatch, place, name, value):
    parts = place.split(".")
    for end in range(1, len(parts) + 1):
        dotted = ".".join(parts[:end])
        if getattr(sys.modules.get(dotted), "is_stub", False):
            continue
        module = types.ModuleType(dotted)
        module.is_stub, module.__path__ = True, []
        monkeypatch.setitem(sys.modules, dotted, module)
        if end > 1:
            setattr(sys.modules[".".join(parts[: end - 1])], parts[end - 1], module)
    setattr(sys.modules[place], name, value)


def run_module(text):
    """Run an exported module as an import would; return its names."""
    scope = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), scope)
    return scope
