"""The integer arithmetic of windows: `sizes` (output sizes, padding, costs) and `fields` (receptive fields)."""

from convlens.geometry.fields import FieldMap, ReceptiveField, Span, hull
from convlens.geometry.sizes import (
    Padding,
    adaptive_cells,
    conv_macs,
    conv_size,
    effective_kernel,
    linear_macs,
    resolve_padding,
    same_padding,
    transposed_remainder,
    transposed_size,
    upsampled_cells,
)

__all__ = [
    "FieldMap",
    "Padding",
    "ReceptiveField",
    "Span",
    "adaptive_cells",
    "conv_macs",
    "conv_size",
    "effective_kernel",
    "hull",
    "linear_macs",
    "resolve_padding",
    "same_padding",
    "transposed_remainder",
    "transposed_size",
    "upsampled_cells",
]
