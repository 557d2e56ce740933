"""The house rules that a reader relies on: who imports whom, what an import costs, where numbers live."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
PACKAGE = REPO / "src" / "walltime"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Top to bottom: a room imports from itself, from its own floor, and from the floors above.
FLOORS = (
    ("units", "problems", "display", "arrays", "signals", "durable"),
    ("catalog",),
    ("workload",),
    ("hardware",),
    ("plan",),
    ("physics",),
    ("engines",),
    ("economics",),
    ("search",),
    ("limits",),
    ("validate",),
    ("measure",),
    ("calibrate",),
    ("planner",),
    ("studies",),
    ("interop",),
    ("report",),
    ("api",),
    ("cli", "web"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FRONT_DOORS = {"__init__", "__main__"}  # the public names, imported lazily, and `python -m walltime`
USERS_OF_THE_PUBLIC_API = set(FLOORS[-1])

EXTRAS = {
    "matplotlib",
    "scipy",
    "duckdb",
    "torch",
    "pynvml",
    "submitit",
    "starlette",
    "uvicorn",
    "distributed",
    "sphinx",
}

ROOMS_WITHOUT_CONSTANTS = ("physics", "engines", "limits")
ALLOWED_FLOATS = {0.0, 0.5, 1.0, 2.0}
ALLOWED_INTEGERS = {0, 1, 2, 3, 4, 6, 8}  # -1 is minus one: a sign, then a 1

MAX_MODULE_LINES = 600


def name_of(module: Path) -> str:
    """'physics/matmul.py' for a module's path."""
    return module.relative_to(PACKAGE).as_posix()


def room_of(module: Path) -> str:
    """The room a module is in: the first folder, or the file itself, under src/walltime."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parsed(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"), filename=str(module))


def imported_names(tree: ast.Module, package: list[str]) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a module of `package` imports, at its top or lazily."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                parents = package[: len(package) - level + 1] if level else []
                prefix = [*parents, *([source] if source else [])]
                yield from ((node.lineno, ".".join([*prefix, alias.name])) for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def broken_imports(module: Path) -> Iterator[str]:
    """What is wrong with a module's imports of walltime, one line each."""
    room = room_of(module)
    package = ["walltime", *module.relative_to(PACKAGE).parts[:-1]]
    for line, name in imported_names(parsed(module), package):
        root, *rest = name.split(".")
        if root != "walltime" or rest == ["__version__"]:
            continue
        place = f"{name_of(module)}:{line} imports {name}"
        target = rest[0] if rest else ""
        if target not in FLOOR_OF:
            if room not in USERS_OF_THE_PUBLIC_API:
                yield f"{place}: import it from the room that defines it"
        elif FLOOR_OF[target] > FLOOR_OF[room]:
            yield f"{place}: {target} is below {room}"


def strange_numbers(module: Path) -> Iterator[str]:
    """Number literals in a module that look like hidden constants, one line each."""
    for node in ast.walk(parsed(module)):
        if not isinstance(node, ast.Constant):
            continue
        value = node.value
        allowed = {float: ALLOWED_FLOATS, int: ALLOWED_INTEGERS, complex: set()}.get(type(value))
        if allowed is not None and value not in allowed:
            yield f"{name_of(module)}:{node.lineno} has the number {value!r}"


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`."""
    report = "\nimport json, sys\nprint(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def repo_files() -> list[Path]:
    """Every file that is tracked, or would be by `git add --all`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := REPO / name).is_file()]


def test_every_module_is_in_a_known_room() -> None:
    strangers = {room_of(module) for module in MODULES} - set(FLOOR_OF) - FRONT_DOORS
    assert not strangers, f"rooms that the design does not know: {sorted(strangers)}"


def test_imports_go_only_upward() -> None:
    assert MODULES
    rooms = [module for module in MODULES if room_of(module) in FLOOR_OF]
    found = [line for module in rooms for line in broken_imports(module)]
    assert not found, "\n".join(found)


def test_import_walltime_loads_no_extra() -> None:
    assert loaded_by("import walltime") & EXTRAS == set()


def test_help_loads_no_extra_and_no_numpy() -> None:
    ask_for_help = (
        "import sys\n"
        "from walltime.cli import main\n"
        "sys.argv = ['walltime', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
    )
    assert loaded_by(ask_for_help) & (EXTRAS | {"numpy"}) == set()


def test_formulas_hide_no_constants() -> None:
    modules = [module for module in MODULES if room_of(module) in ROOMS_WITHOUT_CONSTANTS]
    found = [line for module in modules for line in strange_numbers(module)]
    assert not found, "\n".join(["numbers belong in data/, with a source", *found])


def test_no_module_is_too_long() -> None:
    lines = {name_of(module): len(module.read_text(encoding="utf-8").splitlines()) for module in MODULES}
    assert {name: count for name, count in lines.items() if count > MAX_MODULE_LINES} == {}


def test_no_file_names_a_registry_or_a_machine(repo_files: list[Path]) -> None:
    # In pieces, so that this file does not contain what it looks for.
    needles = ["pypi" + ".org", "python" + "hosted", "npm" + "js.", "debian" + ".org", "/work" + "/"]
    texts = ((path, path.read_bytes().lower()) for path in repo_files)
    found = [(str(path.relative_to(REPO)), n) for path, text in texts for n in needles if n.encode() in text]
    assert found == []


def test_locks_hold_versions_and_hashes_only() -> None:
    locks = sorted((REPO / "requirements").glob("*.txt"))
    assert {lock.stem for lock in locks} >= {"run", "dev", "docs", "lock-tools"}
    pin_or_hash = re.compile(r"[\w.-]+==[\w.!+]+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    for lock in locks:
        lines = lock.read_text(encoding="utf-8").splitlines()
        entries = [line for line in lines if line and not line.lstrip().startswith("#")]
        assert [line for line in entries if not pin_or_hash.fullmatch(line)] == [], lock.name
