"""What every study keeps: its folder, its verdicts, its interruption, its options."""

import json
import os
import re
import signal

import numpy as np
import pytest
import torch

from convlens import studies
from convlens.base.errors import InputError, Interrupted
from convlens.studies.registry import STUDIES, TEXTS
from convlens.studies.run import options_of


class Sizes(studies.Options):
    side: int = 3


@pytest.fixture
def entered():
    """Enters studies for a test, and takes them out again."""
    before = dict(STUDIES)

    def enter(name, function, **arguments):
        claims = {"larger": "Two is larger than one.", "open": "Nobody has looked."}
        described = {"title": "A test", "texts": ("book 1",), "claims": claims, "measures": "nothing"} | arguments
        return studies.register(name, **described)(function)

    yield enter
    STUDIES.clear()
    STUDIES.update(before)


def test_the_verdict_is_computed_from_the_judged_claims(entered, tmp_path):
    def function(findings):
        """A first paragraph."""
        findings.judge("larger", findings.options.side > 1, "a figure")
        findings.leave_out("open", "no time")

    entered("tried", function, options=Sizes)
    record = studies.run("tried", out=tmp_path / "a")
    assert [(one.verdict, one.measured) for one in record.claims] == [("holds", "a figure"), ("not run", "no time")]
    assert record.verdict == "not run"
    record = studies.run("tried", out=tmp_path / "b", settings=["side=0"])
    assert record.claims[0].verdict == record.verdict == "does not hold"


def test_the_folder_holds_the_page_and_the_figures_and_nothing_else(entered, tmp_path):
    def function(findings):
        findings.set(width=np.int64(3))
        findings.figure("not finite", float("nan"))
        findings.table("T", ["a", "b"], [[np.float32(0.5), None]], "<b>about</b>")
        findings.picture("dot", np.zeros((4, 4, 1), np.uint8), "A dot & more.")

    entered("tried", function)
    studies.run("tried", out=tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [".lock", "dot.png", "index.html", "study.json"]
    found = json.loads((tmp_path / "a" / "study.json").read_text("utf-8"))
    assert found["finished"] is True
    assert found["figures"] == {"not finite": None}
    assert found["tables"][0]["rows"] == [[0.5, None]]
    assert found["pictures"] == ["dot.png"]
    page = (tmp_path / "a" / "index.html").read_text("utf-8")
    assert "data:image/png;base64," in page
    assert "A dot &amp; more." in page
    assert "<b>about</b>" not in page
    assert not re.search(r"(src|href)=.?https?:", page)


@pytest.mark.parametrize("how", ["ctrl-c", "stopped training"])
def test_an_interruption_keeps_what_there_is_and_the_next_go_replaces_it(entered, tmp_path, how):
    interrupt = [True]

    def function(findings):
        findings.judge("larger", True, "seen")
        findings.picture("before", np.zeros((4, 4, 1), np.uint8), "Before.")
        if interrupt[0] and how == "ctrl-c":
            os.kill(os.getpid(), signal.SIGINT)
        elif interrupt[0]:
            raise Interrupted("saved", signal.SIGTERM)
        findings.judge("open", True, "looked")

    entered("tried", function)
    with pytest.raises(Interrupted, match="what there was so far") as stopped:
        studies.run("tried", out=tmp_path / "a")
    assert stopped.value.exit_code == (130 if how == "ctrl-c" else 143)
    found = json.loads((tmp_path / "a" / "study.json").read_text("utf-8"))
    assert found["finished"] is False
    assert [one["verdict"] for one in found["claims"]] == ["holds", "not run"]
    assert "not finished" in (tmp_path / "a" / "index.html").read_text("utf-8")
    assert (tmp_path / "a" / "before.png").exists()
    interrupt[0] = False
    assert studies.run("tried", out=tmp_path / "a").verdict == "holds"
    assert "not finished" not in (tmp_path / "a" / "index.html").read_text("utf-8")


def test_the_callers_random_states_are_left_alone(entered, tmp_path):
    def function(findings):
        torch.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002

    entered("tried", function)
    before = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    studies.run("tried", out=tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]  # noqa: NPY002


def test_pictures_of_an_earlier_go_are_removed(entered, tmp_path):
    def function(findings):
        findings.picture(f"side-{findings.options.side}", np.zeros((4, 4, 1), np.uint8), "A side.")

    entered("tried", function, options=Sizes)
    studies.run("tried", out=tmp_path)
    studies.run("tried", out=tmp_path, settings=["side=5"])
    assert [path.name for path in tmp_path.glob("*.png")] == ["side-5.png"]


def test_what_is_trained_once_is_not_trained_again(entered, tmp_path):
    seen = []

    def function(findings):
        options = {"epochs": 1, "settings": ["model.hidden=[4]"], "seed": findings.seed}
        for trial, trained in findings.train([studies.Trial("small", "mlp", "digits", options)]):
            seen.append((trial.name, trained.accuracy, (trained.path / "run.json").stat().st_mtime_ns))
            assert len(trained.epochs) == 1

    entered("tried", function)
    studies.run("tried", out=tmp_path / "a")
    studies.run("tried", out=tmp_path / "a")
    assert seen[0] == seen[1]
    with pytest.raises(InputError, match="trained with other settings"):
        studies.run("tried", out=tmp_path / "a", seed=1)


def test_a_folder_of_something_else_is_refused(entered, tmp_path):
    entered("tried", lambda findings: None)
    entered("other", lambda findings: None)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        studies.run("tried", out=tmp_path / "file")
    with pytest.raises(InputError, match="other things in it"):
        studies.run("tried", out=tmp_path)
    studies.run("other", out=tmp_path / "a")
    with pytest.raises(InputError, match="holds the study 'other'"):
        studies.run("tried", out=tmp_path / "a")


@pytest.mark.parametrize("text", ["[]", "{", '{"study": 3}', '{"format_version": 2}'])
def test_a_damaged_record_is_one_line(entered, tmp_path, text):
    entered("tried", lambda findings: None)
    studies.run("tried", out=tmp_path)
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(InputError, match=r"study\.json"):
        studies.run("tried", out=tmp_path)


def test_a_record_of_a_stranger_removes_nothing_outside(entered, tmp_path):
    entered("tried", lambda findings: None)
    outside = tmp_path / "keep.png"
    outside.write_bytes(b"x")
    studies.run("tried", out=tmp_path / "a")
    record = json.loads((tmp_path / "a" / "study.json").read_text("utf-8"))
    record["pictures"] = ["../keep.png", str(outside)]
    (tmp_path / "a" / "study.json").write_text(json.dumps(record))
    studies.run("tried", out=tmp_path / "a")
    assert outside.exists()


def test_options_name_the_nearest_key_and_what_was_wrong():
    study = studies.Study("s", "t", (), {"a": "b"}, "m", Sizes, lambda findings: None)
    assert options_of(study, ["side=5"]) == Sizes(side=5)
    with pytest.raises(InputError, match="unknown key 'sid', did you mean 'side'"):
        options_of(study, ["sid=5"])
    with pytest.raises(InputError, match=r"--set side: .*integer.*\(got 'many'\)"):
        options_of(study, ["side=many"])
    with pytest.raises(InputError, match="activations has no options"):
        options_of(studies.find("activations"), ["side=5"])


def test_an_unknown_study_names_the_nearest():
    with pytest.raises(InputError, match="no study 'activation', did you mean 'activations'"):
        studies.find("activation")


@pytest.mark.parametrize("name", STUDIES)
def test_each_study_says_where_it_comes_from_and_what_it_claims(name):
    study = STUDIES[name]
    assert study.about.endswith(".")
    assert study.texts
    assert all(text.partition(" ")[0] in TEXTS for text in study.texts)
    assert all(claim.endswith(".") for claim in study.claims.values())
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)


def test_a_claim_that_is_none_is_a_fault_of_the_study(entered, tmp_path):
    entered("tried", lambda findings: findings.judge("large", True, ""))
    with pytest.raises(InputError, match="no claim 'large', did you mean 'larger'"):
        studies.run("tried", out=tmp_path / "a")
