"""What a summary says: a row for each layer that runs, and totals."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from convlens.geometry import FieldMap
from convlens.inspection import costs
from convlens.inspection.fields.effective import EffectiveField

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Layer:
    """One row: a call of a module without parts, or of a function.

    Attributes:
        name: dotted path of the module, or of the module around the function and the function's name; a second
            call of the same name ends in ":2", and so on.
        kind: class of the module, or name of the function.
        output: shape of the output without the batch; None if it returns no tensor.
        parameters: numbers in the parameters that this call is the first to use.
        trainable: those of them that an optimizer changes.
        macs: multiply-accumulates for one example.
        allocated: bytes that the call allocates for one example.
        kept: those of them that stay for the backward pass in training; None if not known.
        fields: receptive field along each axis of the image; None where there is no image.
        call: index in the execution.
        is_function: a function rather than a module.
        buffers: numbers in the buffers that this call is the first to use, such as the running mean and variance of a
            batch normalization.
    """

    name: str
    kind: str
    output: tuple[int, ...] | None
    parameters: int
    trainable: int
    macs: int
    allocated: int
    kept: int | None
    fields: tuple[FieldMap, ...] | None
    call: int
    is_function: bool = False
    buffers: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "output": None if self.output is None else list(self.output),
            "parameters": self.parameters,
            "trainable": self.trainable,
            "buffers": self.buffers,
            "macs": self.macs,
            "memory": {"forward": self.allocated, "training": self.kept},
            "receptive_field": None if self.fields is None else field_dict(self.fields),
        }


def field_dict(fields: tuple[FieldMap, ...]) -> dict[str, list[int | float | None]]:
    """Receptive field by axis. `jump` is null where all cells see the same, or nothing repeats."""
    return {
        "size": [f.size for f in fields],
        "jump": [None if f.jump is None else int(f.jump) if f.jump.denominator == 1 else float(f.jump) for f in fields],
        "offset": [f.start for f in fields],
    }


@dataclass(frozen=True)
class Summary:
    """The whole network. Counts are for one example in evaluation mode.

    Attributes:
        network: class of the network.
        input: shape of one example.
        dtype: of the input, such as "float32".
        layers: what runs, in order.
        groups: class of each module that has parts, by dotted path.
        unused: parameters that nothing uses in evaluation mode, by the path of the module that holds them.
        memory: bytes of activations.
        why_real: why the numbers are those of one random input: shapes alone were not enough to run the network.
        effective: measured receptive fields by layer name, empty unless asked for.
    """

    network: str
    input: tuple[int, ...]
    dtype: str
    layers: tuple[Layer, ...]
    groups: dict[str, str]
    unused: dict[str, int]
    memory: costs.Memory
    why_real: str = ""
    effective: dict[str, EffectiveField] = field(default_factory=dict)

    @property
    def depends_on_values(self) -> bool:
        """Whether the network asks for values: the numbers are those of the branch that one random input takes."""
        return bool(self.why_real)

    @property
    def parameters(self) -> int:
        """Numbers in all parameters that run, shared ones once."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def trainable(self) -> int:
        """Those of the parameters that an optimizer changes."""
        return sum(layer.trainable for layer in self.layers)

    @property
    def buffers(self) -> int:
        """Numbers in the buffers that run: statistics of batch normalization and other constants. Not trained."""
        return sum(layer.buffers for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and matrix products for one example."""
        return sum(layer.macs for layer in self.layers)

    @property
    def last_map(self) -> Layer | None:
        """The last layer whose cells look at different places of the image; None for a network without an image."""
        seeing = [layer for layer in self.layers if layer.fields]
        maps = [layer for layer in seeing if is_map(layer)]
        return (maps or seeing or [None])[-1]

    def to_dict(self, batch: int = 128) -> dict[str, Any]:
        """Plain values for JSON. Memory in bytes; receptive fields in input pixels, by axis (height, width).

        batch: images for which the memory of a whole batch in training is told.
        """
        last = self.last_map
        result = {
            "network": self.network,
            "input": list(self.input),
            "dtype": self.dtype,
            "layers": [layer.to_dict() for layer in self.layers],
            "parameters": self.parameters,
            "trainable": self.trainable,
            "buffers": self.buffers,
            "macs": self.macs,
            "memory": {
                "forward_peak": self.memory.peak,
                "forward_total": self.memory.total,
                "training": self.memory.training,
                "state": self.memory.state,
                "parameters": self.memory.parameters,
                "batch": {"images": batch, "training": self.memory.of_batch(batch)},
            },
            "receptive_field": last and last.fields and {"layer": last.name, **field_dict(last.fields)},
            "unused": self.unused,
            "depends_on_values": self.depends_on_values,
        }
        if self.effective:
            result["effective_receptive_field"] = {
                name: {"size": e.size, "theoretical": e.theoretical, "ratio": e.ratio}
                for name, e in self.effective.items()
            }
        return result

    def __rich__(self) -> "RenderableType":
        from convlens.inspection.summary.table import SummaryTable

        return SummaryTable(self)


def is_map(layer: Layer) -> bool:
    """Whether the layer gives a feature map whose cells see different parts of the image."""
    fields, output = layer.fields, layer.output
    if not fields or not output or len(output) != len(fields) + 1 or max(output[1:]) == 1:
        return False
    return any(f.advance is not None or len(f.cells) > 1 for f in fields)
