"""What the commands share: options, output, and the one JSON object on the last line of stdout."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; everything else goes to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")]


def emit(result: dict[str, Any]) -> None:
    """Prints the JSON object that scripts read. Call once, at the end. NaN becomes null, as JSON has none."""
    typer.echo(json.dumps(_finite(result), ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def console(as_json: bool = False) -> "Console":
    """Where a command writes for people: stdout, or stderr when stdout belongs to the JSON object."""
    from rich.console import Console

    return Console(stderr=as_json, highlight=False)
