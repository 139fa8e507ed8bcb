"""Self-contained HTML pages: tables, and figures that are inside the file."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from musclewarp.files import write_text

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 860px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; } h3 { font-size: 1em; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .25em .6em; border-bottom: 1px solid #ddd; }
th { text-align: left; font-weight: 600; vertical-align: top; } td { overflow-wrap: anywhere; }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
figure { margin: 1em 0; } figcaption, .note { color: #555; font-size: .9em; }
img, video { max-width: 100%; } figure > svg { width: 100%; height: auto; }
@media print { h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""


def write_page(path: str | Path, title: str, parts: Iterable[str]) -> Path:
    """Write a page of HTML `parts`, atomically; `title` is plain text, empty parts are left out."""
    page = "\n".join(part for part in parts if part)
    return write_text(
        Path(path),
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head>\n<body>\n{page}\n"
        "</body></html>\n",
    )


def format_number(value: object, factor: float = 1.0, decimals: int = 2) -> str:
    """`value * factor` to so many decimals; 'none' for what is missing or not finite."""
    if not isinstance(value, (int, float, np.number)) or not math.isfinite(float(value)):
        return "none"
    return f"{round(factor * float(value), decimals) + 0.0:.{decimals}f}"  # + 0.0: zero has no sign


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """The first `texts` columns hold words, the others numbers; everything is escaped here."""

    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(
            f"<{tag}{' class=n' if i >= texts else ''}>{escape(cell)}</{tag}>" for i, cell in enumerate(cells)
        ) + "</tr>"  # fmt: skip

    return f"<table>{row(header, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def key_value_table(rows: Mapping[str, object]) -> str:
    """Names and what they are: provenance."""

    def text(value: object) -> str:
        return "none" if value is None or (isinstance(value, float) and not math.isfinite(value)) else str(value)

    cells = (f"<tr><th>{escape(str(key))}</th><td>{escape(text(value))}</td></tr>" for key, value in rows.items())
    return f"<table>{''.join(cells)}</table>"


def png_figure(figure: Figure, caption: str) -> str:
    """A figure as pixels: heat maps, dense lines."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    text = escape(caption, quote=True)
    return f"<figure><img alt='{text}' src='data:image/png;base64,{data}'><figcaption>{text}</figcaption></figure>"


def svg_figure(figure: Figure, caption: str, name: str) -> str:
    """A figure as lines, sharp at every size; `name`, once on a page, keeps its ids apart from other figures'."""
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawing = buffer.getvalue()
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing[drawing.index("<svg") :], flags=re.DOTALL)
    drawing = re.sub(r'(id="|url\(#|xlink:href="#)', rf"\g<1>{name}-", drawing)
    text = escape(caption, quote=True)
    drawing = drawing.replace("<svg ", f'<svg role="img" aria-label="{text}" ', 1)
    return f"<figure>{drawing}<figcaption>{text}</figcaption></figure>"
