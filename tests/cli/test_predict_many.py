"""`convlens predict` for many pictures: a file of answers, folders by class, what to label next."""

import csv
from pathlib import Path

import pytest
from PIL import Image

import convlens as cl


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> cl.Run:
    return cl.train(data="digits", epochs=1, out=tmp_path_factory.mktemp("runs") / "digits", quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve gray pictures, and one file that is none."""
    where = tmp_path_factory.mktemp("pictures")
    for k in range(12):
        Image.new("L", (8, 8), 20 * k).save(where / f"{k:02}.png")
    (where / "broken.png").write_bytes(b"no picture")
    return where


def lead(row: dict) -> float:
    return row["top"][0]["probability"] - row["top"][1]["probability"]


def test_it_writes_the_file_sorts_and_lists_the_uncertain(cli, run, folder, tmp_path):
    out = tmp_path / "a.csv"
    done = cli(
        "predict", run.path, folder, "--out", out, "--sort-into", tmp_path / "sorted", "--uncertain", 3, "--json"
    )
    assert done.code == 4
    assert (done.json["count"], done.json["failed"], done.json["sorted"]) == (13, 1, 12)
    assert f"1 of 13 files could not be read; {out} says why" in done.err
    rows = [row for row in csv.DictReader(out.read_text().splitlines()) if row["label"]]
    leads = sorted(float(row["probability"]) - float(row["probability_2"]) for row in rows)
    assert [lead(row) for row in done.json["uncertain"]] == pytest.approx(leads[:3])
    for row in rows:
        assert (tmp_path / "sorted" / row["label"] / Path(row["path"]).name).is_file()


def test_without_a_file_the_uncertain_are_shown_alone(cli, run, folder):
    done = cli("predict", run.path, *sorted(folder.glob("0*.png")), "--uncertain", 2, "--top", 1)
    assert done.code == 0
    assert len(done.out.splitlines()) == 2
    assert all(line.startswith("uncertain  ") and " or " in line for line in done.out.splitlines())


def test_what_cannot_be_done_is_said_in_one_line(cli, run, folder, tmp_path):
    done = cli("predict", run.path, folder / "broken.png", "--out", tmp_path / "a.jsonl")
    assert done.code == 2
    assert "none of the 1 files could be read" in done.err
    assert "--link goes with --sort-into" in cli("predict", run.path, folder, "--link").refused()
    (tmp_path / "file").write_text("")
    assert "a file of that name exists" in cli("predict", run.path, folder, "--sort-into", tmp_path / "file").refused()
