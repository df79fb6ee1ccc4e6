"""Which device the arithmetic runs on: the names that users give, and what PyTorch can use here."""

import torch

from convlens.base.errors import InputError

NAMES = ("auto", "cpu", "cuda", "mps")


def choose(wanted: "str | torch.device" = "auto") -> tuple[str, str]:
    """The device for a name, and why in words. A GPU may carry a number, as in "cuda:1".

    Raises:
        InputError: an unknown name, or a device that this machine does not have.
    """
    wanted = str(wanted)
    if wanted == "auto":
        if available("cuda"):
            return "cuda", f"the GPU {torch.cuda.get_device_name()} is there"
        return ("mps", "Apple's GPU is there") if available("mps") else ("cpu", "no GPU that PyTorch can use")
    kind, colon, number = wanted.partition(":")
    if kind not in NAMES[1:] or (colon and not (number.isascii() and number.isdigit() and len(number) <= 3)):
        raise InputError(f"unknown device {wanted!r}: choose {', '.join(NAMES[:-1])} or {NAMES[-1]}")
    if not available(wanted):
        has = f"only {torch.cuda.device_count()}" if kind == "cuda" and available("cuda") else "none"
        raise InputError(f"device {wanted!r}: this machine (or this build of PyTorch) has {has}; choose auto or cpu")
    return ("cpu" if kind == "cpu" else wanted), "asked for"


def available(device: str) -> bool:
    """Whether PyTorch can use `device` here."""
    kind, _, number = device.partition(":")
    if kind == "cuda":
        return torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count()
    return kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available() and int(number or 0) == 0)


def for_run(wanted: "str | torch.device | None", trained_on: str) -> tuple[str, str | None]:
    """The device to use a run on, and a line where it is not the one that was to be expected.

    wanted: what was asked for; None takes the device that the run was trained on, so that it is judged by the
        arithmetic that made it, or else the best that is there.
    """
    if wanted is not None:
        return choose(wanted)[0], None
    if available(trained_on):
        return trained_on, None
    device = choose("auto")[0]
    return device, f"the run was trained on {trained_on}, which is not here; it is used on {device}"
