"""Whatever a stranger wrote, the answer is a result or one line: no traceback, no crash, little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("harness.py")
LIMIT = 2 << 30


@pytest.mark.parametrize("count", [1500, pytest.param(24_000, marks=pytest.mark.slow)])
def test_damaged_files_of_every_kind_are_read_or_refused_in_one_line(tmp_path, count):
    seed = os.environ.get("CONVLENS_FUZZ_SEED", "0")
    print(f"CONVLENS_FUZZ_SEED={seed}")  # shown where the test fails
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, HARNESS, tmp_path / "work", "--count", str(count), "--seed", seed]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    last = tmp_path / "work" / "current"
    assert done.returncode == 0, f"died at {last.read_text() if last.exists() else 'its start'}: {done.stderr[-3000:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["inputs"] >= count * 0.9
    for finding in found["findings"]:
        print(finding["format"], finding["number"], finding["wrong"], sep="\n")
    assert not found["findings"]
    assert found["peak"] < LIMIT
    answers = found["answers"]
    assert all(name.startswith("cache") or counts.get("refused") for name, counts in answers.items()), answers
    assert all(counts.get("taken") for name, counts in answers.items() if sum(counts.values()) > 300), answers
