"""Attributions in the terminal: for each picture a table with the raw range of every map and its check."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from convlens.inspection.explain.comparison import Comparison

if TYPE_CHECKING:
    from rich.table import Table


def attributions(comparison: Comparison) -> "Iterator[Table]":
    """A table a picture."""
    from rich.markup import escape
    from rich.table import Table

    for i, row in enumerate(comparison.to_dict()):
        against = f" against {row['against']}" if row["against"] is not None else ""
        table = Table(
            title=escape(f"{row['picture']}: {row['class']}{against}, score {row['score']:.4g}"), title_justify="left"
        )
        for name in ("method", "minimum", "maximum", "rank correlation", "randomization check"):
            table.add_column(name, justify="left" if name in ("method", "randomization check") else "right")
        for method, figures in row["maps"].items():
            value = figures["rank_correlation_random"]
            verdict = comparison.judged[method].verdict(i)
            table.add_row(
                method, f"{figures['minimum']:.4g}", f"{figures['maximum']:.4g}",
                "-" if math.isnan(value) else f"{value:.2f}",
                f"[red]{verdict}[/]" if verdict == "failed" else verdict,
            )  # fmt: skip
        yield table
