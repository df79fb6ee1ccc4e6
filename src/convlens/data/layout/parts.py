"""The parts of a data set, and the many names that their folders have."""

import re

PARTS = ("train", "val", "test")

_WORDS = {
    "train": "train", "training": "train", "trn": "train", "trainval": "train", "训练": "train", "训练集": "train",
    "val": "val", "valid": "val", "validation": "val", "validate": "val", "dev": "val", "devel": "val",
    "development": "val", "验证": "val", "验证集": "val",
    "test": "test", "tests": "test", "testing": "test", "tst": "test", "eval": "test", "evaluation": "test",
    "holdout": "test", "测试": "test", "测试集": "test",
}  # fmt: skip
_GENERIC = frozenset(
    """
    set sets data dataset datasets image images img imgs picture pictures pic pics photo photos split splits file files
    folder dir part sample samples class classes jpg jpeg png raw all full new final
    """.split()  # noqa: SIM905
)
"""Words that say nothing about what is in a folder."""
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_ENDING = re.compile(r"(?<=.)(sets?|data|images?|imgs?|split)$")


def _words(name: str) -> list[str]:
    """The words of a name in lower case: "TrainSet_01" gives train, set, 01."""
    words: list[str] = []
    for word in map(str.lower, _TOKEN.findall(name)):
        stem = _ENDING.sub("", word)
        words += [stem, word[len(stem) :]] if stem != word and stem in _WORDS else [word]
    return words


def part_and_rest(name: str) -> tuple[str | None, str]:
    """The part that a name speaks of, and the words that have nothing to do with that: "cat_train" is train of "cat".

    Words such as "images" and numbers are left out. (None, "") if the name speaks of no part, or of several.
    """
    words = _words(name)
    parts = {_WORDS[word] for word in words if word in _WORDS}
    if len(parts) != 1:
        return None, ""
    rest = [word for word in words if word not in _WORDS and word not in _GENERIC and not word.isdigit()]
    return parts.pop(), " ".join(rest)


def part_of(name: str) -> str | None:
    """The part that a folder's name means ("train", "TRAIN", "train_set", "images-test", "val2017"), or None."""
    part, rest = part_and_rest(name)
    return None if rest else part


def is_generic(name: str) -> bool:
    """Whether a folder's name says nothing, as "images" or "data_2" do."""
    words = _words(name)
    return bool(words) and all(word in _GENERIC or word.isdigit() for word in words) and not name.strip().isdigit()


_AT_AN_END = re.compile(rf"^(?:{'|'.join(_WORDS)})[\s_.-]+|[\s_.-]+(?:{'|'.join(_WORDS)})$", re.IGNORECASE)


def without_part(name: str) -> str:
    """What a name says besides its part: "Cat_train" gives "Cat"."""
    return _AT_AN_END.sub("", name, count=1) or name
