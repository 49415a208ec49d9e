"""Put the figures of `benchmarks.accuracy` into docs/accuracy.md.

``python -m benchmarks.page build/accuracy.json docs/accuracy.md`` replaces what stands between the lines
``<!-- figures -->`` and ``<!-- end of figures -->``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import geometric

_START, _END = "<!-- figures -->", "<!-- end of figures -->"
_COLUMNS = (
    ("bicubic_rmse", "bicubic RMSE, K", "{:.3f}"),
    ("lstzoom", "**lstzoom**", "**{:.3f}**"),
    ("published", "published method", "{:.3f}"),
    ("oracle", "best factor", "{:.3f}"),
    ("detail_r2", "sub-pixel R²", "{:.3f}"),
    ("coverage", "in the 90 % interval", "{:.3f}"),
    ("footprint", "footprint, pixels", "{:.2f}"),
    ("reliability", "reliability", "{:.2f}"),
)


def main(source: Path, page: Path) -> None:
    """Rewrite the figures of the page."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(_START)
    _, after = rest.split(_END)
    figures = render(json.loads(source.read_text(encoding="utf-8")))
    page.write_text(f"{before}{_START}\n\n{figures}\n\n{_END}{after}", encoding="utf-8")


def render(record: Mapping[str, Any]) -> str:
    """Write all tables as Markdown."""
    when = str(record["date"])[:10]
    side = record["side"]
    parts = [f"Measured by `make bench-accuracy` on {when} ({record['machine']}); simulated: {side} rows."]
    parts += [f"### {name.capitalize()}\n\n{table(rows)}" for name, rows in record["groups"].items() if rows]
    parts.append("### Bars\n\n" + bars(record["bars"]))
    return "\n\n".join(parts)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write one group; columns without a figure are left out, and peers come last."""
    columns = [c for c in _COLUMNS if rows[0][c[0]] is not None]
    others = list(rows[0]["peers"])
    lines = [
        _row(["case", *(c[1] for c in columns), *others]),
        _row(["---"] * (1 + len(columns) + len(others))),
    ]
    for row in rows:
        cells = [style.format(row[key]) for key, _, style in columns]
        lines.append(_row([row["case"], *cells, *(_peer(row, name) for name in others)]))
    means = [
        style.format(geometric([row[key] for row in rows]))
        if key in ("lstzoom", "published", "oracle")
        else ""
        for key, _, style in columns
    ]
    known = [all(name in row["peers"] for row in rows) for name in others]
    theirs = [
        f"{geometric([row['peers'][name] for row in rows]):.3f}" if all_ else "-"
        for name, all_ in zip(others, known, strict=True)
    ]
    return "\n".join([*lines, _row(["geometric mean", *means, *theirs])])


def _peer(row: Mapping[str, Any], name: str) -> str:
    return f"{row['peers'][name]:.3f}" if name in row["peers"] else "-"


def bars(found: Sequence[Mapping[str, Any]]) -> str:
    """Write what had to be reached and what was."""
    lines = [_row(["measure", "value", "bar", "met"]), _row(["---"] * 4)]
    for bar in found:
        wanted = f"≤ {bar['high']:g}" if bar["low"] == 0 else f"{bar['low']:g} to {bar['high']:g}"
        lines.append(_row([bar["name"], f"{bar['value']:.4g}", wanted, "yes" if bar["met"] else "**no**"]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
