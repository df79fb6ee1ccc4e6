"""Transfer: the tasks share no class and no picture, and learned features win where pictures are few."""

import numpy as np
import pytest

from convlens.studies.transfer import HELD, WAYS, few, tasks


def test_the_two_tasks_share_no_class_and_no_picture():
    a, b = tasks("digits", 0)
    assert a["train"].classes == tuple("01234")
    assert b["train"].classes == tuple("56789")
    assert not {*a["train"].fingerprints().tolist()} & {*b["train"].fingerprints().tolist()}
    assert set(b["test"].labels.tolist()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("count", [4, 16])
def test_so_many_pictures_of_each_class_are_taken_and_none_of_them_is_held_for_validation(count):
    _, task = tasks("digits", 0)
    parts = few(task, count, 3)
    assert np.bincount(parts["train"].labels).tolist() == [count] * 5
    assert np.bincount(parts["val"].labels).tolist() == [HELD] * 5
    assert len(parts["test"]) == len(task["test"])


def test_each_verdict_follows_from_the_table_and_each_way_learns_something(do):
    done = do("transfer")
    rows = done.table("Test accuracy on task B")
    assert [row[0] for row in rows] == [4, 16]
    assert done.figure("test accuracy on task A") > 0.95
    assert min(min(row[1:]) for row in rows) > 0.6  # of 5 classes, a guess is right in 0.2
    scratch, taught, drawn = (1 + WAYS.index(way) for way in WAYS)
    holds = [claim["verdict"] for claim in done.record.model_dump()["claims"]]
    expected = [
        rows[0][taught] > rows[0][scratch],
        all(row[taught] > row[drawn] for row in rows),
        rows[1][taught] - rows[1][scratch] < rows[0][taught] - rows[0][scratch],
    ]
    assert [one == "holds" for one in holds] == expected
