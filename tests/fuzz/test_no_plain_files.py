"""Pipes, sockets, devices and folders where a file should be: refused at once, in one line, wherever a file is read."""

import json
import os
import socket
import subprocess
import sys
import textwrap

import pytest

CODE = """
    import json, sys, traceback
    from pathlib import Path
    import convlens as cl
    from convlens import data, models
    from convlens.base.errors import InputError
    from convlens.data.layout.classes import names_of
    from convlens.training import recipe

    network = models.create("lenet5", num_classes=3)
    readers = {
        "data": lambda path: data.find(path).read(data.Preprocess((6, 6), 3)),
        "picture": lambda path: data.Preprocess((6, 6), 3).prepare(path),
        "run": lambda path: cl.load(path),
        "run.json": lambda path: cl.load(path.parent / (path.name + "-run")),
        "recipe": lambda path: recipe.load(str(path)),
        "weights": lambda path: models.load_weights(network, path),
        "classes": names_of,
        "cache": lambda path: data.find("digits").read(data.Preprocess((6, 6), 1)) and None,
    }
    answers = {}
    for path in map(Path, sys.argv[1:]):
        for name, read in readers.items():
            try:
                answers[f"{name} {path.name}"] = [True, str(read(path))]
            except InputError as error:
                answers[f"{name} {path.name}"] = [False, str(error)]
            except Exception:
                answers[f"{name} {path.name}"] = [True, traceback.format_exc()]
    print(json.dumps(answers))
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_what_is_no_plain_file_is_refused_at_once_wherever_a_file_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    os.mkfifo(tmp_path / "pipe.pth")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.toml"))
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "device.toml").symlink_to("/dev/zero")
    (tmp_path / "circle.toml").symlink_to(tmp_path / "circle.toml")
    paths = sorted(tmp_path.iterdir())
    for path in paths:
        (tmp_path / f"{path.name}-run").mkdir()
        (tmp_path / f"{path.name}-run" / "run.json").symlink_to(path)
    (tmp_path / "cache").mkdir()
    environment = os.environ | {"CONVLENS_CACHE": str(tmp_path / "pipe.pth")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CODE), *paths],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    taken = {name: said for name, (accepted, said) in answers.items() if accepted and not name.startswith("cache")}
    assert not taken
    assert all(accepted for name, (accepted, _) in answers.items() if name.startswith("cache"))
    assert all("\n" not in said for _, said in answers.values())
