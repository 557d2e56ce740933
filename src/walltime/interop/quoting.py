"""Values as other languages write them: a word of a shell command, a value of TOML, of JSON, of Python."""

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

COMMENT_KEY = "_walltime"
"""Where a JSON object, which has no comments, holds what would be one; reading passes over it."""
_DELETE = "\x7f"
_LINE = 88  # characters, before a call or a list goes on several lines


def shell_word(text: object) -> str:
    r"""Return text as one word of a bash command, on one line whatever is in it.

    Examples
    --------
    >>> print(shell_word("my models/7b.toml"), shell_word("two\nlines"))
    'my models/7b.toml' $'two\nlines'
    """
    word = str(text)
    if word.isprintable():
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(part if part.isprintable() else _escaped(part) for part in escaped) + "'"


def _escaped(character: str) -> str:
    named = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}
    return named.get(character) or f"\\U{ord(character):08x}"


def toml_text(value: Any) -> str:
    r"""Return a value as TOML writes it: text, a number, true or false, a list of them.

    Examples
    --------
    >>> print(toml_text('a "b"\n'), toml_text([1, 2.5, True]))
    "a \"b\"\n" [1, 2.5, true]
    """
    if isinstance(value, list):
        return f"[{', '.join(toml_text(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace(_DELETE, r"\u007f")


def json_text(value: Mapping[str, Any]) -> str:
    """Return an object as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def python_text(value: object) -> str:
    """Return a value as a literal of Python, text in double quotes, a long list on several lines."""
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, list):
        items = [python_text(item) for item in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= _LINE else f"[\n{''.join(_argument(item) for item in items)}]"
    if not isinstance(value, str):
        return repr(value)
    return json.dumps(value) if value.isascii() and value.isprintable() else repr(value)


def commented(lines: Iterable[str], mark: str = "#") -> str:
    """Return lines as comments, with an empty line after them."""
    return "".join(f"{mark} {line}".rstrip() + "\n" for line in lines) + "\n"


class Code(str):
    """Source text that stands for itself in `python_text`."""

    __slots__ = ()


def call_text(function: str, arguments: Mapping[str, Any], *first: object) -> str:
    """Return a call in Python, one line an argument where it does not fit on one; ``#`` is a comment.

    Examples
    --------
    >>> call_text("f", {"a": 1, "b": Code("b")}, "x")
    'f("x", a=1, b=b)'
    """
    words = [python_text(value) for value in first]
    words += [f"# {value}" if name == "#" else f"{name}={python_text(value)}" for name, value in arguments.items()]
    line = f"{function}({', '.join(words)})"
    if len(line) <= _LINE and "\n" not in line and "#" not in arguments:
        return line
    return f"{function}(\n{''.join(_argument(word) for word in words)})"


def _argument(word: str) -> str:
    indented = "    " + word.replace("\n", "\n    ")
    return indented + ("\n" if word.startswith("# ") else ",\n")
