"""What a command did decides how it ends: not a closed stdout, a full disk behind it, or an old encoding."""

import errno
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convlens as cl
from convlens.cli import main

COMMANDS = {
    "train": ["train", "--epochs", "1", "--set", "batch_size=512", "--no-tensorboard"],
    "evaluate": ["evaluate", "RUN"],
    "predict": ["predict", "RUN", "IMAGE"],
    "models": ["models", "--family", "lenet"],
    "summary": ["summary", "lenet5"],
    "verify": ["verify", "lenet5", "--batch", "1"],
    "report": ["report", "RUN"],
    "export": ["export", "RUN"],
    "data list": ["data", "list"],
    "data check": ["data", "check", "digits"],
}


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("streams")
    run = cl.train(
        data="digits", epochs=1, out=folder / "run[/x]", quiet=True
    )  # a name that Rich could take for markup
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "×猫.png")
    return {"RUN": str(run.path), "IMAGE": str(folder / "×猫.png")}


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


class Gone(io.StringIO):
    def flush(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def latin() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="cp1252", write_through=True)


def ascii_() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)


def ended(monkeypatch, places: dict[str, str], argv: list[str], out, err) -> int:
    """Runs a command with these streams; its exit code."""
    monkeypatch.setattr(sys, "argv", ["convlens", *(places.get(word, word) for word in argv)])
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    try:
        main()
    except SystemExit as left:
        return int(left.code or 0)
    finally:
        monkeypatch.undo()
    return 0


@pytest.mark.parametrize("name", COMMANDS)
def test_a_good_command_ends_well_whatever_its_screen_is(monkeypatch, places, tmp_path, name):
    screens = [lambda: None, Full, Gone, latin, ascii_]
    for number, screen in enumerate(screens[:: 2 if name == "train" else 1]):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "1" if screen is ascii_ else "80")
        out = ["--out", str(tmp_path / str(number))] if name in ("train", "export") else []
        assert ended(monkeypatch, places, [*COMMANDS[name], *out], screen(), screen()) == 0, screen


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_json_that_nobody_gets_is_exit_code_2_and_one_line(monkeypatch, places, tmp_path, name):
    for screen in (lambda: None, Full, Gone):
        monkeypatch.chdir(tmp_path)
        err = io.StringIO()
        assert ended(monkeypatch, places, [*COMMANDS[name], "--json"], screen(), err) == 2
        assert [line for line in err.getvalue().splitlines() if line.startswith("error")]
        assert "Traceback" not in err.getvalue()


@pytest.mark.parametrize("encoding", [latin, ascii_])
def test_json_in_an_old_encoding_is_json(monkeypatch, places, encoding):
    out = encoding()
    assert ended(monkeypatch, places, ["predict", "RUN", "IMAGE", "--json"], out, io.StringIO()) == 0
    content = out.buffer.getvalue().decode(out.encoding)
    assert json.loads(content)["predictions"][0]["path"] == places["IMAGE"]


@pytest.mark.parametrize("screen", [lambda: None, Full, Gone, ascii_])
def test_a_refusal_stays_a_refusal(monkeypatch, places, screen):
    for argv in (["report", "nowhere"], ["predict", "RUN", "nothing\x1b[2J.png"], ["train", "--epochs", "x"], ["mdls"]):
        assert ended(monkeypatch, places, argv, screen(), screen()) == 2


def test_no_name_commands_the_terminal(monkeypatch, places, tmp_path):
    evil = "\x1b]0;gotcha\x07\x1b[2J"
    run = tmp_path / "run"
    run.mkdir()
    for path in Path(places["RUN"]).glob("*.*"):
        if path.is_file():
            (run / path.name).write_bytes(path.read_bytes())
    record = json.loads((run / "run.json").read_text())
    record["classes"] = [f"{evil}{name}" for name in record["classes"]]
    (run / "run.json").write_text(json.dumps(record))
    for argv in (["predict", str(run), "IMAGE"], ["predict", str(run), f"{evil}.png"], ["train", f"{evil}"], [evil]):
        out, err = io.StringIO(), io.StringIO()
        ended(monkeypatch, places, argv, out, err)
        assert out.getvalue() + err.getvalue()
        assert "\x1b" not in out.getvalue() + err.getvalue()
        assert "\x07" not in out.getvalue() + err.getvalue()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("models --family lenet >&-", 0),
        ("models --json >&-", 2),
        ("models --json > /dev/full", 2),
        ("models > /dev/full 2>&1", 0),
        ("nonsense 2>&-", 2),
        ("--version >&- 2>&- <&-", 0),
    ],
)
def test_a_shell_gets_the_same_answers(command, code):
    program = f"{sys.executable} -c 'from convlens.cli import run; run()' {command}"
    done = subprocess.run(program, shell=True, capture_output=True, text=True)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr


def test_python_m_convlens_is_the_command():
    asked = [sys.executable, "-m", "convlens"]
    good = subprocess.run([*asked, "--version"], capture_output=True, text=True)
    bad = subprocess.run([*asked, "mdels"], capture_output=True, text=True)
    assert good.stdout == f"convlens {cl.__version__}\n"
    assert bad.returncode == 2
    assert "Did you mean 'models'?" in bad.stderr
