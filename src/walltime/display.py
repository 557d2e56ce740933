"""How results show themselves in a notebook."""

import html
from collections.abc import Sequence
from typing import Any


def html_table(caption: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return an HTML table of dictionaries with the same keys."""
    if not rows:
        return f"<p>{html.escape(caption)}</p>"
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_shown(value))}</td>" for value in row.values()) + "</tr>" for row in rows
    )
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
