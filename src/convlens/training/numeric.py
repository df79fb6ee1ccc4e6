"""What the arithmetic of a run is done with. Imports no PyTorch: a report can be written without it."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Numeric:
    """Settled once at the start by `settings.settle`, stored in `run.json`, reused on a resume.

    device: "cpu", "cuda", "cuda:1" or "mps". dtype: of activations, "float32" or "bfloat16"; weights and optimizer
    state are float32. channels_last: the memory format. threads: of PyTorch on a CPU.
    reasons: why, in words.
    """

    device: str
    dtype: str
    channels_last: bool
    threads: int
    compile: bool = False
    deterministic: bool = False
    reasons: dict[str, str] = field(default_factory=dict, compare=False)

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "reasons"}
