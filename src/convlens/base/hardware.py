"""What this machine has: processor, memory, limits of a container, compiler, disk. Imports no PyTorch.

Functions that read /proc and /sys take the root of the file system as an argument, so that tests can lay out machines
that they do not have. What cannot be found out is None, never an error.
"""

import contextlib
import functools
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_ROOT = Path("/")
_INSTRUCTIONS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "avx_vnni",
    "amx_bf16",
    "amx_tile",
    "asimd",
    "sve",
    "bf16",
)
_UNLIMITED = 1 << 60  # bytes: version 1 of control groups writes a huge number for "no limit"


@dataclass(frozen=True)
class Machine:
    """A computer as a process sees it. Sizes are bytes.

    physical: cores. logical: hardware threads. allowed: hardware threads that this process may run on (affinity).
    quota: processors' worth of time that its control group grants, such as 1.5. memory_limit: of its control group.
    """

    system: str
    processor: str | None
    architecture: str
    physical: int | None
    logical: int
    allowed: int
    quota: float | None
    instructions: tuple[str, ...]
    memory: int | None
    memory_available: int | None
    memory_limit: int | None
    compiler: str | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"instructions": list(self.instructions)}


def machine(root: Path = _ROOT) -> Machine:
    """Looks at this machine."""
    info = _read(root / "proc/cpuinfo") or ""
    memory = _meminfo(root)
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(info),
        architecture=platform.machine(),
        physical=_physical(info) or _sysctl("hw.physicalcpu", int),
        logical=os.cpu_count() or 1,
        allowed=allowed(),
        quota=cpu_quota(root),
        instructions=_instructions(info),
        memory=memory.get("MemTotal") or _sysctl("hw.memsize", int),
        memory_available=memory.get("MemAvailable"),
        memory_limit=memory_limit(root),
        compiler=compiler(),
    )


def allowed() -> int:
    """How many hardware threads this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def usable_cores(root: Path = _ROOT) -> int:
    """How many threads can really run at once: physical cores, within affinity and the control group's quota.

    PyTorch looks at the cores and the affinity only: in a container that is granted 2 of 64 processors it would
    start 64 threads, which then wait for each other. Looked at once per process, as PyTorch does: reading the limits
    takes longer than a small network.
    """
    cores = [_physical(_read(root / "proc/cpuinfo") or ""), _sysctl("hw.physicalcpu", int), allowed()]
    quota = cpu_quota(root)
    limits = [n for n in cores if n] + ([math.ceil(quota)] if quota is not None else [])
    return max(1, min(limits))


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Processors' worth of time granted by the control group and its parents (Linux, versions 1 and 2)."""
    found = []
    for text in _control_files(root, "cpu", "cpu.max"):
        quota, _, period = text.partition(" ")
        if quota != "max" and period.strip().isdigit():
            found.append(int(quota) / int(period))
    for quota, period in zip(
        _control_files(root, "cpu", "cpu.cfs_quota_us"), _control_files(root, "cpu", "cpu.cfs_period_us"), strict=False
    ):
        if int(quota) > 0:
            found.append(int(quota) / int(period))
    return min(found, default=None)


def memory_limit(root: Path = _ROOT) -> int | None:
    """Bytes of memory granted by the control group and its parents (Linux, versions 1 and 2)."""
    texts = [*_control_files(root, "memory", "memory.max"), *_control_files(root, "memory", "memory.limit_in_bytes")]
    return min((int(text) for text in texts if text.isdigit() and int(text) < _UNLIMITED), default=None)


def compiler() -> str | None:
    """The C++ compiler that `torch.compile` would use."""
    return next(
        (
            path
            for name in (os.environ.get("CXX"), "c++", "g++", "clang++", "cl")
            if name and (path := shutil.which(name))
        ),
        None,
    )


def disk_free(folder: Path) -> int | None:
    """Free bytes on the disk of a folder, or of its first parent that exists."""
    with contextlib.suppress(OSError):
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        return shutil.disk_usage(existing).free
    return None


# ---- reading /proc, /sys and sysctl


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return None


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _processor(info: str) -> str | None:
    fields = _fields(info)
    name = fields.get("model name") or fields.get("Model") or fields.get("Hardware")
    return name or _sysctl("machdep.cpu.brand_string", str) or platform.processor() or None


def _physical(info: str) -> int | None:
    """Distinct (socket, core) pairs of /proc/cpuinfo; None where it does not name them."""
    cores = {
        (fields.get("physical id"), fields["core id"])
        for fields in map(_fields, info.split("\n\n"))
        if "core id" in fields
    }
    return len(cores) or None


def _instructions(info: str) -> tuple[str, ...]:
    fields = _fields(info)
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return tuple(name for name in _INSTRUCTIONS if name in flags)


def _meminfo(root: Path) -> dict[str, int]:
    fields = _fields(_read(root / "proc/meminfo") or "")
    return {key: int(value.split()[0]) * 1024 for key, value in fields.items() if value.endswith(" kB")}


def _control_files(root: Path, controller: str, name: str) -> Iterator[str]:
    """The contents of a control file in this process's group and in each parent, innermost first.

    Inside a container the group's own path may not be visible: then its mount point is the innermost that is.
    """
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / (controller if controllers else "")
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            text = _read(base.joinpath(*parts[:depth], name))
            if text:
                yield text


def _sysctl(name: str, kind: type) -> Any:
    if sys.platform != "darwin":
        return None
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        return kind(subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5).stdout.strip())
    return None
