"""Writes docs/coverage.md: for every row of the five texts the command or the page, from docs/coverage.toml.

python docs/generate_coverage.py
"""

import tomllib
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("coverage.md")
ROWS = PAGE.with_suffix(".toml")

HEAD = """\
# Where each lesson is

The five texts have {total} lessons: things that a reader is to see, count or train. For {done} of them here is the
command or the page. A test runs each command, on a share of the data; as they stand, some take seconds and some hours.
"""


def page() -> str:
    """The page as it should stand."""
    texts = tomllib.loads(ROWS.read_text("utf-8")).values()
    rows = [row for text in texts for row in text["rows"]]
    done = [row for row in rows if _where(row)]
    parts = [HEAD.format(total=len(rows), done=len(done))]
    for text in texts:
        lines = [f"| {row['id']} | {row['about']} | {_where(row)} |" for row in text["rows"] if _where(row)]
        parts.append(f"## {text['text']}\n\n| | lesson | command or page |\n|---|---|---|\n" + "\n".join(lines) + "\n")
    if missing := [row for row in rows if not _where(row)]:
        lines = [f"- {row['id']}: {row['about']}" for row in missing]
        parts.append(f"## Not yet: {len(missing)}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _where(row: dict[str, Any]) -> str:
    command = f"`{row['command']}`" if "command" in row else ""
    link = f"[{_title(row['page'])}]({row['page']})" if "page" in row else ""
    return ", ".join(part for part in (command, link) if part)


def _title(target: str) -> str:
    """The heading of a page."""
    return (PAGE.parent / target.partition("#")[0]).read_text("utf-8").splitlines()[0].lstrip("# ")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
