"""What `convlens data check` says of a set is what `convlens train` then does."""

import io

import numpy as np
import pytest
from PIL import Image


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


DAMAGED = picture(0)[:60]


def classes(**counts: int) -> dict[str, int | bytes]:
    return {f"{name}/{k}.png": 100 * n + k for n, (name, count) in enumerate(counts.items()) for k in range(count)}


def parts(**counts: dict[str, int]) -> dict[str, int | bytes]:
    return {f"{part}/{path}": seed for part, each in counts.items() for path, seed in classes(**each).items()}


def labels(*rows: str) -> dict[str, int | bytes]:
    return {"labels.csv": "\n".join(["path,label", *rows]).encode()}


SETS: dict[str, dict[str, int | bytes]] = {
    "two classes": classes(cat=4, dog=4),
    "as few as can be split": classes(cat=3, dog=3),
    "one too few": classes(cat=3, dog=2),
    "one picture each": classes(cat=1, dog=1),
    "a damaged one, enough are left": {**classes(cat=4, dog=4), "dog/0.png": DAMAGED},
    "a damaged one, too few are left": {**classes(cat=3, dog=3), "dog/0.png": DAMAGED},
    "a class of damaged ones": {**classes(cat=4, dog=2), "dog/0.png": DAMAGED, "dog/1.png": b""},
    "all damaged": {f"{name}/{k}.png": DAMAGED for name in ("cat", "dog") for k in range(3)},
    "parts": parts(train={"cat": 2, "dog": 2}, test={"cat": 1, "dog": 1}),
    "parts of one picture": parts(
        train={"cat": 1, "dog": 1}, val={"cat": 1, "dog": 1}, test={"cat": 1, "dog": 1}
    ),
    "a test part alone": parts(train={"cat": 1, "dog": 1}, test={"cat": 1, "dog": 1}),
    "a damaged test part": {
        **parts(train={"cat": 3, "dog": 3}, test={"cat": 1, "dog": 1}), "test/dog/0.png": DAMAGED
    },
    "a training part of one class": parts(train={"cat": 4}, test={"cat": 1, "dog": 1}),
    "a table": {f"{k}.png": k for k in range(8)} | labels(*(f"{k}.png,{'ab'[k % 2]}" for k in range(8))),
    "a table of too few": {f"{k}.png": k for k in range(8)} | labels("0.png,a", "1.png,a", "2.png,a", "3.png,b"),
}  # fmt: skip


TAKEN = [
    "two classes",
    "as few as can be split",
    "a damaged one, enough are left",
    "parts",
    "parts of one picture",
    "a table",
]


@pytest.mark.parametrize("name", SETS)
def test_a_check_says_whether_training_takes_the_set_and_why_not(cli, tmp_path, name):
    for file, content in SETS[name].items():
        path = tmp_path / "pictures" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else picture(content))
    checked = cli("data", "check", "pictures", "--json", "-q")
    trained = cli("train", "mlp", "--data", "pictures", "--epochs", 1, "-q", "--no-tensorboard")
    assert checked.code == trained.code == (0 if name in TAKEN else 2)
    if trained.code == 0:
        assert checked.json["trainable"]
        assert checked.json["reason"] is None
    elif checked.out:  # the set as such was understood
        assert not checked.json["trainable"]
        assert checked.json["reason"] in trained.refused()
        assert checked.json["reason"] in cli("data", "check", "pictures", "-q").err
    else:
        assert checked.refused() == trained.refused()
