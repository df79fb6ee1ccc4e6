"""Writes docs/commands.md: every command with its arguments and options, from the command line itself.

python docs/generate_commands.py
"""

import re
from pathlib import Path
from typing import Any

import typer

from convlens.cli import app

PAGE = Path(__file__).with_name("commands.md")


def page() -> str:
    """The page as it should stand."""
    root: Any = typer.main.get_command(app)
    parts = ["# Commands\n\nFrom `convlens --help`, by `docs/generate_commands.py`.\n"]
    for name, command in sorted(root.commands.items()):
        inner = sorted(getattr(command, "commands", {}).items())
        parts += [_of(f"convlens {name}", command)] if not inner else []
        parts += [_of(f"convlens {name} {below}", one) for below, one in inner]
    return "\n".join(parts)


def _of(name: str, command: Any) -> str:
    found = [f"## `{name}`\n\n{_text(command.help)}\n"]
    rows = [row for parameter in command.params if (row := _row(parameter))]
    if rows:
        found.append("| | |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(found)


def _row(parameter: Any) -> str | None:
    if getattr(parameter, "hidden", False):
        return None
    option = parameter.param_type_name == "option"
    names = (
        ", ".join([*parameter.opts, *parameter.secondary_opts])
        if option
        else parameter.metavar or parameter.name.upper()
    )
    flag = getattr(parameter, "is_flag", False)
    value = "" if flag or not option else f" {parameter.metavar or 'VALUE'}"
    shown = (names + value).replace("|", "/")
    return f"| `{shown}` | {_text(parameter.help)} |"


def _text(text: str | None) -> str:
    plain = " ".join((text or "").split("\f")[0].split())
    return re.sub(r"([<>|*])", r"\\\1", plain)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
