"""What a machine has, on machines laid out as files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from convlens.base import hardware

_XEON = "\n\n".join(
    f"processor\t: {i}\nmodel name\t: Some Xeon\nphysical id\t: {i // 4}\ncore id\t\t: {i % 2}\n"
    "flags\t\t: fpu sse avx2 fma avx512f avx512_bf16 amx_tile amx_bf16 amx_int8"
    for i in range(8)
)
_ARM = (
    "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd sve bf16\n\nprocessor\t: 1\nFeatures\t: fp asimd sve bf16"
)


def _lay_out(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def test_cores_of_two_sockets_with_two_threads_each_are_counted_once(tmp_path):
    found = hardware.machine(_lay_out(tmp_path, proc__cpuinfo=_XEON))
    assert (found.processor, found.physical) == ("Some Xeon", 4)
    assert found.instructions == ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")


def test_an_arm_machine_that_names_no_cores_is_described(tmp_path):
    found = hardware.machine(_lay_out(tmp_path, proc__cpuinfo=_ARM))
    assert found.instructions == ("asimd", "sve", "bf16")
    assert hardware.usable_cores(tmp_path) >= 1


def test_memory_is_read_in_bytes(tmp_path):
    root = _lay_out(tmp_path, proc__meminfo="MemTotal:       1000 kB\nMemAvailable:    600 kB\nHugePages_Total: 3")
    found = hardware.machine(root)
    assert (found.memory, found.memory_available) == (1_024_000, 614_400)


def test_the_tightest_limit_of_a_group_and_its_parents_counts(tmp_path):
    root = _lay_out(
        tmp_path,
        proc__self__cgroup="0::/outer/inner",
        sys__fs__cgroup__outer__inner__cpu_dot_max="max 100000",
        sys__fs__cgroup__outer__cpu_dot_max="150000 100000",
        sys__fs__cgroup__outer__inner__memory_dot_max="max",
        sys__fs__cgroup__outer__memory_dot_max="2147483648",
        proc__cpuinfo=_XEON,
    )
    assert hardware.cpu_quota(root) == 1.5
    assert hardware.memory_limit(root) == 2 << 30
    assert hardware.usable_cores(root) <= 2


def test_limits_of_version_one_are_read_and_its_huge_number_means_none(tmp_path):
    root = _lay_out(
        tmp_path,
        proc__self__cgroup="4:cpu,cpuacct:/job\n7:memory:/job",
        sys__fs__cgroup__cpu__job__cpu_dot_cfs_quota_us="50000",
        sys__fs__cgroup__cpu__job__cpu_dot_cfs_period_us="100000",
        sys__fs__cgroup__cpu__cpu_dot_cfs_quota_us="-1",
        sys__fs__cgroup__cpu__cpu_dot_cfs_period_us="100000",
        sys__fs__cgroup__memory__job__memory_dot_limit_in_bytes="9223372036854771712",
    )
    assert hardware.cpu_quota(root) == 0.5
    assert hardware.memory_limit(root) is None
    assert hardware.usable_cores(root) == 1


def test_a_path_out_of_the_container_falls_back_to_the_mount_point(tmp_path):
    root = _lay_out(tmp_path, proc__self__cgroup="0::/../../elsewhere", sys__fs__cgroup__cpu_dot_max="300000 100000")
    assert hardware.cpu_quota(root) == 3


def test_a_machine_without_proc_is_described_without_an_error(tmp_path):
    found = hardware.machine(tmp_path)
    assert found.quota is None
    assert found.memory_limit is None
    assert found.logical == os.cpu_count()
    assert found.to_dict()["instructions"] == []


def test_this_machine_agrees_with_the_system():
    found = hardware.machine()
    assert 1 <= hardware.usable_cores() <= found.allowed <= found.logical
    if hasattr(os, "sysconf") and sys.platform == "linux":
        assert found.memory == pytest.approx(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), rel=0.01)


def test_free_space_is_that_of_the_first_parent_that_exists(tmp_path):
    stat = os.statvfs(tmp_path)
    assert hardware.disk_free(tmp_path / "not" / "yet") == pytest.approx(stat.f_bavail * stat.f_frsize, rel=0.05)


def test_the_ground_floor_imports_no_pytorch():
    rooms = "errors, files, hardware, progress, seeds"
    code = f"import sys; from convlens.base import {rooms}; sys.exit('torch' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
