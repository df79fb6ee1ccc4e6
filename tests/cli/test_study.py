"""`convlens study`, as a user types it."""

import json


def test_the_list_names_each_study_and_where_it_comes_from(cli):
    shown = cli("study")
    assert shown.code == 0
    assert "activations" in shown.out
    assert "10.8" in shown.out
    rows = {row["name"]: row for row in cli("study", "--json").json["studies"]}
    assert rows["activations"]["claim"]


def test_a_study_writes_its_folder_and_says_what_holds(cli, tmp_path):
    done = cli("study", "activations", "--quick", "--json")
    assert done.code == 0
    assert done.json["verdict"] == "holds"
    assert done.json["claim"]
    assert json.loads((tmp_path / "studies" / "activations-quick" / "study.json").read_text())["finished"]
    assert (tmp_path / done.json["page"]).exists()
    assert "gradients" in done.err


def test_a_wrong_name_is_one_line(cli):
    assert "did you mean 'activations'" in cli("study", "activation").refused()
