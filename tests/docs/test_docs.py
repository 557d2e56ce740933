"""What the README and the documentation show is what the program does: commands, outputs, Python, flags, figures."""

import contextlib
import doctest
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from walltime.studies.erdil2024 import FIGURES

REPO = Path(__file__).parents[2]
DOCS = REPO / "docs"
PAGES = [
    REPO / "README.md",
    *sorted(page for folder in ("tutorials", "how-to", "explanation") for page in (DOCS / folder).glob("*.md")),
]
BLOCK = re.compile(r"^(`{3,})(\S+)\n(.*?)^\1$", re.DOTALL | re.MULTILINE)
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NOT_RUN = ("make", ".", "python", "walltime bench")  # install or build, or take long and have no fixed output
EXIT = re.compile(r"#\s*exit (\d)\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the one after it."""

    kind: str
    text: str
    output: str = ""

    @property
    def commands(self):
        """Each command of a console block with what is shown of its output."""
        parts = re.split(r"^\$ (.*)\n", self.text, flags=re.MULTILINE)[1:]
        return list(zip(parts[::2], parts[1::2], strict=True))


def blocks_of(page):
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [
        Block(kind, text, after[2] if after[1] == "text" else "")
        for (_, kind, text), after in zip(found, [*found, ("", "", "")][1:], strict=True)
    ]


def names(page):
    return page.relative_to(REPO).as_posix()


def generate_cli():
    spec = importlib.util.spec_from_file_location("generate_cli", DOCS / "generate_cli.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(command, folder):
    """Run a command line as a user would, in a folder."""
    assert command.startswith("walltime "), command
    program = [sys.executable, "-W", "error", "-c", "from walltime.cli import main; main()"]
    paths = os.pathsep.join(filter(None, [str(REPO / "src"), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [*program, *shlex.split(command, comments=True)[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "WALLTIME_CALIBRATIONS": str(folder / "calibrations")},
        capture_output=True,
        text=True,
        timeout=50,
    )


def same(shown, output):
    return doctest.OutputChecker().check_output(shown, output, LOOSE)


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_work_and_print_what_is_shown(page, tmp_path):
    """In the order of the page, in one folder, with the files that the page describes."""
    (tmp_path / "tests").symlink_to(REPO / "tests")
    for block in blocks_of(page):
        if block.kind == "toml":
            name = re.match(r"# (\S+\.toml)\n", block.text)
            assert name, f"the first line of a TOML block names its file: {block.text[:60]}"
            (tmp_path / name[1]).write_text(block.text, encoding="utf-8")
        if block.kind != "console":
            continue
        assert block.commands, block.text
        for command, shown in block.commands:
            if any(command == word or command.startswith(f"{word} ") for word in NOT_RUN):
                continue
            done = run(command, tmp_path)
            expected = EXIT.search(command)
            assert done.returncode == (int(expected[1]) if expected else 0), (command, done.stderr)
            assert same(shown or "...\n", done.stdout or done.stderr), f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_python_works_and_prints_what_is_shown(page, tmp_path, monkeypatch):
    (tmp_path / "tests").symlink_to(REPO / "tests")
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "page"}
    for block in blocks_of(page):
        if block.kind == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.text, names(page), "exec"), scope)
            assert same(block.output or "...\n", printed.getvalue())


BOOKS = {"erdil2024": ("erdil", 12, "figures"), "transformer": ("transformer", 14, "")}


@pytest.mark.parametrize("name", BOOKS)
def test_worked_problems_come_out(name):
    page = DOCS / "explanation" / f"{name}.md"
    examples = "\n".join(block.text for block in blocks_of(page) if block.kind == "{doctest}")
    test = doctest.DocTestParser().get_doctest(examples, {}, names(page), str(page), 0)
    failures = io.StringIO()
    result = doctest.DocTestRunner().run(test, out=failures.write)
    assert result.attempted > 20
    assert not result.failed, failures.getvalue()


@pytest.mark.parametrize("name", BOOKS)
def test_every_chapter_ends_in_a_problem_with_an_answer(name):
    prefix, count, without = BOOKS[name]
    text = (DOCS / "explanation" / f"{name}.md").read_text(encoding="utf-8")
    chapters = re.split(rf"^\({prefix}-([a-z-]+)\)=\n", text, flags=re.MULTILINE)[1:]
    assert len(chapters) == 2 * count
    for label, chapter in zip(chapters[::2], chapters[1::2], strict=True):
        if label != without:
            assert chapter.count("{admonition} Problem") == chapter.count("{admonition} Answer") == 1, label
            assert "```{doctest}" in chapter, label


def test_the_page_of_commands_is_fresh():
    cli = generate_cli()
    assert cli.PAGE.read_text(encoding="utf-8") == cli.page(), "run: python docs/generate_cli.py"


def test_every_flag_and_command_is_documented():
    cli = generate_cli()
    page = cli.PAGE.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^##+ (walltime[^\n]*)\n\n```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    for context, command in cli.commands():
        section = sections[context.command_path]
        for parameter in command.get_params(context):
            assert not isinstance(parameter, click.Option) or parameter.help, (context.command_path, parameter.name)
            for flag in (*parameter.opts, *parameter.secondary_opts) if isinstance(parameter, click.Option) else ():
                assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", section), (context.command_path, flag)


def test_every_figure_is_explained():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.is_relative_to(DOCS))
    assert [name for name in FIGURES if name not in text] == []


def test_every_make_target_of_the_readme_exists():
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)`", (REPO / "README.md").read_text(encoding="utf-8"))) <= targets


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_between_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target
