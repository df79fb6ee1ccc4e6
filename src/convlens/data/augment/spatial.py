"""Moving pixels: flips, turns, shifts, crops and rotations of a whole batch at once.

Every function takes contiguous `x` [n h w c], uint8 or floating point, and returns the same type and shape.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Boxes = tuple[Tensor, Tensor, Tensor, Tensor]
"""First row, first column, height, width of one rectangle an image: each int64 [n]."""


@functools.lru_cache(maxsize=64)
def steps(count: int, device: torch.device, by: int = 1, start: int = 0) -> Tensor:
    """start, start + by, ...: int64 [count]. Kept, as every batch asks for the same; not to be written to."""
    return torch.arange(count, device=device) * by + start


def replaced(x: Tensor, chosen: Tensor, source: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """`x` with its images `chosen` (int64 [k]) passed through `change`.

    source (int64 [n]) says for each place of the result where it stands in all images followed by the k changed
    ones. Copying by whole images this way is four times as fast as a masked assignment.
    """
    changed = change(x.index_select(0, chosen))
    return torch.cat((x, changed)).index_select(0, source)


def mirrored(x: Tensor) -> Tensor:
    """All images, left and right exchanged."""
    return x.flip(2)


def transposed(x: Tensor) -> Tensor:
    """All images, rows and columns exchanged (square images)."""
    return x.transpose(1, 2).contiguous()


def upside_down(x: Tensor, chosen: Tensor) -> Tensor:
    """The images where `chosen` (bool [n]) holds are turned upside down: whole rows are copied."""
    n, h, w, c = x.shape
    row = torch.where(chosen[:, None], steps(h, x.device, -1, h - 1), steps(h, x.device))
    row += steps(n, x.device, h)[:, None]
    return x.view(n * h, w * c).index_select(0, row.view(-1)).view(n, h, w, c)


def shifted(x: Tensor, down: Tensor, right: Tensor, *, limit: int, padding: str, fill: Tensor) -> Tensor:
    """Each image moved by `down` and `right` pixels (int64 [n], -limit .. limit) within its frame.

    padding: "zero" shows `fill` ([c], dtype of x) beyond the border, "edge" repeats the last pixel, "reflect"
        mirrors about the last pixel's center (4 3 2 | 1 2 3 4).

    Each output row is a run of w pixels somewhere in a row that is `limit` pixels wider at either end. So all
    runs of that length, overlapping, are seen as the rows of a table, and one copy of whole rows does it.
    """
    n, h, w, c = x.shape
    high, wide = h + 1, w + 2 * limit  # an empty row below each image is also the one above the next
    table = x.new_empty((n * high + 1, wide, c))
    if padding == "zero":
        table.view(-1, wide * c).copy_(fill.repeat(wide))  # long rows: writing three values at a time is slow
    body = table[1:].view(n, high, wide, c)[:, :h]
    body[:, :, limit : limit + w] = x
    if padding == "edge":
        body[:, :, :limit] = x[:, :, :1]
        body[:, :, limit + w :] = x[:, :, -1:]
    elif padding == "reflect":
        body[:, :, :limit] = x[:, :, 1 : limit + 1].flip(2)
        body[:, :, limit + w :] = x[:, :, w - 1 - limit : w - 1].flip(2)
    y = steps(h, x.device) - down[:, None]
    if padding == "zero":
        y = y.clamp_(-1, h)
    elif padding == "edge":
        y = y.clamp_(0, h - 1)
    else:
        y = h - 1 - (h - 1 - y.abs()).abs()
    first = steps(n, x.device, high * wide, wide + limit) - right
    start = torch.add(first[:, None], y, alpha=wide)
    runs = table.as_strided((table.shape[0] * wide - w + 1, w * c), (c, 1))
    return runs.index_select(0, start.view(-1)).view(n, h, w, c)


def resampled(x: Tensor, boxes: Boxes) -> Tensor:
    """The rectangle of each image enlarged to the full image, bilinear; nothing outside the rectangle is seen."""
    _, h, w, _ = x.shape
    top, left, height, width = boxes
    y = _places(top, height, h)[:, :, None].expand(-1, -1, w)
    x_ = _places(left, width, w)[:, None, :].expand(-1, h, -1)
    return _sampled(x, y, x_, "border")


def _places(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Where the centers of `size` output pixels lie along `length` input pixels from `start`: float32 [n size]."""
    start, length = start.float()[:, None], length.float()[:, None]
    center = (torch.arange(size, device=start.device) + 0.5) * (length / size) - 0.5
    return start + center.clamp_min(0).minimum(length - 1)


def rotated(x: Tensor, degrees: Tensor, *, padding: str, fill: Tensor) -> Tensor:
    """Each image turned counter-clockwise about its center by `degrees` (float32 [n]), bilinear."""
    _, h, w, _ = x.shape
    angle = degrees.deg2rad()[:, None, None]
    cos, sin = angle.cos(), angle.sin()
    y = (torch.arange(h, device=x.device) - (h - 1) / 2)[:, None]
    x_ = torch.arange(w, device=x.device) - (w - 1) / 2
    source_y = sin * x_ + cos * y + (h - 1) / 2
    source_x = cos * x_ - sin * y + (w - 1) / 2
    if padding != "zero":
        return _sampled(x, source_y, source_x, "border" if padding == "edge" else "reflection")
    # sampling shows 0 beyond the border, so 0 must mean the fill color meanwhile
    return _sampled(x, source_y, source_x, "zeros", fill.float())


def _sampled(x: Tensor, y: Tensor, x_: Tensor, beyond: str, origin: Tensor | None = None) -> Tensor:
    """Bilinear samples at pixel coordinates (float32 [n h w]); uint8 is rounded."""
    _, h, w, _ = x.shape
    grid = torch.stack((x_ * (2 / max(w - 1, 1)) - 1, y * (2 / max(h - 1, 1)) - 1), dim=-1)
    values = x.float() if origin is None else x.float() - origin
    # the channels-last view is read where it lies
    out = F.grid_sample(
        values.permute(0, 3, 1, 2), grid, mode="bilinear", padding_mode=beyond, align_corners=True
    ).permute(0, 2, 3, 1)
    if origin is not None:
        out = out + origin
    return as_type(out, x.dtype).contiguous()


def as_type(values: Tensor, dtype: torch.dtype) -> Tensor:
    """float32 as `dtype`; for uint8 rounded to the nearest and cut to 0..255."""
    return values.round_().clamp_(0, 255).to(dtype) if dtype == torch.uint8 else values.to(dtype)


def inside(boxes: Boxes, h: int, w: int, c: int) -> Tensor:
    """Which values lie in the rectangle of their image: uint8 [n h w*c], 255 inside and 0 outside."""
    top, left, height, width = (value[:, None] for value in boxes)
    y, value = steps(h, top.device), steps(w * c, top.device)
    rows = ((y >= top) & (y < top + height)).to(torch.uint8).neg_()
    columns = ((value >= left * c) & (value < (left + width) * c)).to(torch.uint8).neg_()
    # full bytes and bitwise operations: boolean masks are not vectorized and take seven times as long
    return rows[:, :, None] & columns[:, None, :]


def pasted(x: Tensor, other: Tensor, boxes: Boxes) -> Tensor:
    """`x` with the rectangle of each image taken from `other` ([n h w c], or [w c] for one row everywhere)."""
    n, h, w, c = x.shape
    mask = inside(boxes, h, w, c)
    flat, other = x.view(n, h, w * c), other.reshape(*other.shape[:-2], w * c)
    if x.dtype == torch.uint8:
        out = (flat ^ other).bitwise_and_(mask).bitwise_xor_(flat)
    else:
        out = torch.where(mask.bool(), other, flat)
    return out.view(n, h, w, c)
