import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens import data


@pytest.fixture(autouse=True)
def own_places(monkeypatch, tmp_path_factory):
    """No data of this machine, a cache of its own, and no network."""
    monkeypatch.delenv("CONVLENS_DATA", raising=False)
    monkeypatch.delenv("CONVLENS_MIRROR", raising=False)
    monkeypatch.setenv("CONVLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def pets(tmp_path):
    for name in ("cat", "dog"):
        for k in range(3):
            path = tmp_path / "pets" / name / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(k + 10 * (name == "dog")))
    return tmp_path / "pets"


def test_data_list_shows_what_there_is_and_where(cli):
    sets = {row["name"]: row for row in cli("data", "list", "--json").json["sets"]}
    assert sets["digits"]["available"] is True
    assert sets["mnist"]["available"] is False
    assert (sets["mnist"]["train"], sets["mnist"]["test"], sets["mnist"]["native"]) == (60000, 10000, [1, 28, 28])
    shown = cli("data", "list").out
    assert "built in" in shown
    assert "to download" in shown


def test_data_get_of_an_embedded_set_has_nothing_to_do(cli):
    outcome = cli("data", "get", "digits", "--json")
    assert outcome.json == {"name": "digits", "path": None, "downloaded": False}


def test_data_get_without_a_network_says_what_to_do(cli):
    line = cli("data", "get", "mnist").refused()
    assert "mnist: not found on this machine" in line
    assert "CONVLENS_DATA" in line


def test_data_get_of_an_unknown_name_suggests_one(cli):
    assert "did you mean 'mnist'" in cli("data", "get", "mnits").refused()


def test_data_check_names_every_problem(cli, pets):
    (pets / "cat" / "bad.png").write_bytes(b"x")
    (pets / "dog" / "same.png").write_bytes(picture(0))
    found = cli("data", "check", pets, "--json", "--quiet").json
    assert found["counts"] == {"train": {"cat": 3, "dog": 4}}
    assert [problem["path"] for problem in found["problems"]] == ["cat/bad.png"]
    assert found["conflicts"] == [["cat/0.png", "dog/same.png"]]
    assert found["native"] == [3, 9, 9]
    shown = cli("data", "check", pets).out
    assert "cat/bad.png" in shown
    assert "different classes" in shown


def test_data_check_of_good_data_says_so(cli, pets):
    assert "no problems found" in cli("data", "check", pets, "-q").out


def test_classes_called_like_parts_are_checked_and_cached_when_they_are_named(cli, pets, tmp_path):
    (pets / "dog").rename(pets / "train")
    assert "--classes" in cli("data", "check", pets).refused()
    (tmp_path / "names").write_text("train\ncat\n")
    found = cli("data", "check", pets, "--classes", "names", "--json", "-q").json
    assert found["counts"] == {"train": {"train": 3, "cat": 3}}
    assert cli("data", "cache", pets, "--classes", "names", "--json", "-q").json["n"] == 6
    (tmp_path / "ten").write_text("\n".join("abcdefghij"))
    assert list(cli("data", "check", "digits", "--classes", "ten", "--json", "-q").json["counts"]["train"]) == list(
        "abcdefghij"
    )


def test_data_check_of_nothing_is_one_line(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no images in it" in cli("data", "check", tmp_path / "empty").refused()


def test_data_cache_decodes_ahead_at_the_size_of_training(cli, pets, monkeypatch):
    (pets / "cat" / "bad.png").write_bytes(b"x")
    answer = cli("data", "cache", pets, "--model", "lenet5", "--json", "--quiet").json
    assert (answer["name"], answer["size"], answer["n"]) == ("pets", [3, 28, 28], 6)
    assert [problem["path"] for problem in answer["skipped"]] == ["cat/bad.png"]
    assert sum(file.stat().st_size for file in Path(answer["path"]).iterdir()) == answer["bytes"] > 6 * 28 * 28 * 3
    again = cli("data", "cache", pets, "--json", "--quiet").json
    assert again == answer
    with monkeypatch.context() as patch:
        patch.setattr(data.Preprocess, "prepare", None)  # nothing is decoded again
        assert len(data.find(pets).read(data.Preprocess((28, 28), 3)).parts["train"]) == 6
    shown = cli("data", "cache", pets, "--size", "16", "-q").out
    assert "6 images of pets at 16 x 16 pixels" in shown
    assert "cat/bad.png" in shown


def test_data_cache_where_nothing_can_be_kept_is_one_line(cli, pets, monkeypatch, tmp_path):
    assert "nothing to decode" in cli("data", "cache", "digits").refused()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CONVLENS_CACHE", str(tmp_path / "file"))
    assert "CONVLENS_CACHE" in cli("data", "cache", pets).refused()
    monkeypatch.setattr("convlens.data.store.cache.LARGE", 1)
    monkeypatch.setattr("convlens.data.formats.decoded.disk_free", lambda _: 0)
    assert " B free" in cli("data", "cache", pets).refused()
