"""A run that is killed and resumed ends with the very bytes of the run that was left alone."""

import json
import os
import random
from pathlib import Path

import pytest
from killing import EVERYTHING_ON, ForkedCommands

TIMES = ("seconds", "images_per_second", "elapsed")


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def undisturbed(request, commands) -> tuple[list[str], Path, dict]:
    """The command, the folder of a run that nobody disturbed, and what running it took."""
    command = [*EVERYTHING_ON, "--precision", request.param]
    folder = commands.folder / f"undisturbed-{request.param}"
    answer = commands.run(*command, "--out", str(folder))
    assert answer["code"] == 0, commands.said()
    return command, folder, answer


def metrics_without_times(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def assert_same_outcome(folder: Path, expected: Path) -> None:
    for name in ("weights.safetensors", "last.safetensors"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), f"{name} differs"
    assert metrics_without_times(folder) == metrics_without_times(expected)
    results = [json.loads((f / "run.json").read_text())["results"] for f in (folder, expected)]
    assert results[0]["test"] == results[1]["test"]
    assert results[0]["val"] == results[1]["val"]
    assert not list(folder.glob(".*.tmp")), "left by a killed write"


def killed_and_resumed(commands: ForkedCommands, command: list[str], folder: Path, kills: list[dict]) -> None:
    for how in kills:
        answer = commands.run(*command, "--out", str(folder), "--resume", **how)
        assert answer["code"] in (-9, 0), commands.said()  # 0: it had finished before the kill
    answer = commands.run(*command, "--out", str(folder), "--resume")
    assert answer["code"] == 0, commands.said()


def test_two_kills_in_one_run_change_nothing(commands, undisturbed):
    command, expected, answer = undisturbed
    moments = [answer["operations"] * share // 10 for share in (4, 3)]
    folder = commands.folder / f"two-kills-{expected.name}"
    killed_and_resumed(commands, command, folder, [{"kill_at": moment} for moment in moments])
    assert_same_outcome(folder, expected)


def test_a_kill_at_a_random_time_changes_nothing(commands, undisturbed):
    command, expected, answer = undisturbed
    folder = commands.folder / f"random-kill-{expected.name}"
    killed_and_resumed(commands, command, folder, [{"kill_after": random.uniform(0.2, 0.9) * answer["seconds"]}])
    assert_same_outcome(folder, expected)


@pytest.mark.slow
def test_twenty_kills_at_random_times_change_nothing(commands, undisturbed):
    command, expected, answer = undisturbed
    for number in range(20):
        folder = commands.folder / f"kill-{number}-{expected.name}"
        times = [random.uniform(0, 1) * answer["seconds"] for _ in range(1 + number % 3)]
        killed_and_resumed(commands, command, folder, [{"kill_after": seconds} for seconds in times])
        assert_same_outcome(folder, expected)


@pytest.mark.slow
def test_a_kill_at_each_write_fsync_and_rename_changes_nothing(commands, undisturbed):
    command, expected, answer = undisturbed
    assert answer["operations"] > 100
    for moment in range(1, answer["operations"] + 1):
        folder = commands.folder / f"fault-{moment}-{expected.name}"
        killed_and_resumed(commands, command, folder, [{"kill_at": moment}])
        assert_same_outcome(folder, expected)


def test_sigterm_finishes_the_step_saves_and_prints_the_command_to_go_on(commands, undisturbed):
    command, expected, _ = undisturbed
    folder = commands.folder / f"terminated-{expected.name}"
    answer = commands.run(*command, "--out", str(folder), stop_at=120)
    assert answer["code"] == 143, commands.said()
    assert f"convlens train --resume --out {folder}" in commands.said()
    again = commands.run("train", "--resume", "--out", str(folder), "--quiet")  # its own words suffice
    assert again["code"] == 0, commands.said()
    assert_same_outcome(folder, expected)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (["--seed", "7"], "seed"),
        (["--set", "optimizer.lr=0.5"], "optimizer.lr"),
        (["--epochs", "9"], "epochs"),
        (["--set", "model.dropout=0.3"], "model.dropout"),
    ],
)
def test_a_resume_with_other_words_is_refused_by_name(commands, undisturbed, change, word):
    command, folder, _ = undisturbed
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    answer = commands.run(*command, *change, "--out", str(folder), "--resume")
    assert answer["code"] == 2
    assert word in commands.said()
    assert len(commands.said().strip().splitlines()) == 1
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_resume_with_another_network_or_other_data_is_refused_by_name(commands, tmp_path):
    folder = tmp_path / "run"
    started = commands.run(*EVERYTHING_ON, "--out", str(folder), kill_at=60)
    assert started["code"] == -9
    answer = commands.run(
        *[w.replace("lenet5", "lenet5_bn_tfbook") for w in EVERYTHING_ON], "--out", str(folder), "--resume"
    )
    assert answer["code"] == 2
    assert "network" in commands.said()
    make_pictures(tmp_path / "pictures")
    other = [str(tmp_path / "pictures") if word == "digits" else word for word in EVERYTHING_ON]
    answer = commands.run(*other, "--out", str(folder), "--resume")
    assert answer["code"] == 2
    assert "data" in commands.said() or "input size" in commands.said()


def make_pictures(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in "0123456789":
        (folder / label).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")


def test_an_out_that_holds_a_run_is_refused_without_resume(commands, undisturbed):
    command, folder, _ = undisturbed
    answer = commands.run(*command, "--out", str(folder))
    assert answer["code"] == 2
    assert "--resume" in commands.said()


def test_resuming_a_finished_run_gives_its_result_again(commands, undisturbed):
    command, folder, _ = undisturbed
    answer = commands.run(*command, "--out", str(folder), "--resume", "--json")
    assert answer["code"] == 0
    result = json.loads(commands.said().splitlines()[-1])
    assert result["test"] == json.loads((folder / "run.json").read_text())["results"]["test"]


def test_two_trainers_on_one_folder_the_second_is_refused(commands, tmp_path):
    from convlens.runs import RunFolder

    folder = tmp_path / "run"
    folder.mkdir()
    with RunFolder(folder).lock():
        answer = commands.run(*EVERYTHING_ON, "--out", str(folder))
    assert answer["code"] == 2
    assert "in use" in commands.said()


def test_a_streamed_run_killed_and_resumed_ends_like_one_decoded_ahead(commands, tmp_path):
    make_pictures(tmp_path / "pictures")
    command = [str(tmp_path / "pictures") if word == "digits" else word for word in EVERYTHING_ON]
    command += ["--set", "batch_size=16", "--size", "28"]
    ahead = commands.run(*command, "--out", str(tmp_path / "ahead"))
    assert ahead["code"] == 0, commands.said()
    started = commands.run(*command, "--stream", "--out", str(tmp_path / "run"), kill_at=ahead["operations"] // 2)
    assert started["code"] == -9
    assert commands.run("train", "--resume", "--out", str(tmp_path / "run"))["code"] == 0
    assert "when they are needed" in commands.said()  # as the run began
    assert_same_outcome(tmp_path / "run", tmp_path / "ahead")


def test_commands_are_really_killed(commands):
    answer = commands.run(*EVERYTHING_ON, "--out", str(commands.folder / "probe"), kill_at=3)
    assert answer["code"] == -9
    assert os.path.exists(commands.folder / "probe")
