"""`convlens doctor`."""

import json

import torch
from typer.testing import CliRunner

from convlens.base.hardware import usable_cores
from convlens.cli import app


def _doctor(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["doctor", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_doctor_tells_what_is_here_and_what_will_be_used(monkeypatch, tmp_path):
    monkeypatch.delenv("CONVLENS_DATA", raising=False)
    monkeypatch.setenv("CONVLENS_CACHE", str(tmp_path / "cache"))
    found = json.loads(_doctor("--json").splitlines()[-1])
    assert found["versions"]["torch"] == torch.__version__
    assert found["machine"]["usable_cores"] == usable_cores()
    assert found["data"]["digits"] == "built in"
    assert found["data"]["cifar100"] is None
    assert found["folders"]["cache"]["path"] == str(tmp_path / "cache")
    assert set(found["settings"]["reasons"]) >= {"device", "dtype", "threads", "compile"}


def test_doctor_finds_data_sets_and_names_a_wrong_folder(monkeypatch, tmp_path):
    (tmp_path / "cifar10-jpeg").mkdir()
    monkeypatch.setenv("CONVLENS_DATA", str(tmp_path))
    assert json.loads(_doctor("--json").splitlines()[-1])["data"]["cifar10-jpeg"] == str(tmp_path / "cifar10-jpeg")
    monkeypatch.setenv("CONVLENS_DATA", str(tmp_path / "nowhere"))
    found = json.loads(_doctor("--json").splitlines()[-1])
    assert any("nowhere" in warning for warning in found["warnings"])
    assert found["data"]["digits"] == "built in"


def test_doctor_for_people_has_no_markup_left():
    text = _doctor()
    for title in ("Machine", "Software", "Data sets", "Convlens will use"):
        assert title in text
    assert "[bold]" not in text
