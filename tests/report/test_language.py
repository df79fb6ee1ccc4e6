"""Every word of the report stands in every language, with the same values in it."""

import re
import string

import pytest

from convlens.base.errors import InputError
from convlens.report import language, write
from convlens.training.recording import _describe_split


def _fields(text: str) -> list[str]:
    return sorted(f"{name}:{form}" for _, name, form, _ in string.Formatter().parse(text) if name)


@pytest.mark.parametrize("code", [code for code in language.NAMES if code != "en"])
def test_each_text_has_its_translation_with_the_same_fields(code):
    english, other = language.load("en").table, language.load(code).table
    assert list(other) == list(english)
    assert {key: _fields(text) for key, text in other.items()} == {key: _fields(text) for key, text in english.items()}


def test_every_text_is_used_and_every_text_that_is_asked_for_is_there():
    folder = language._TABLES.parent
    source = "".join(file.read_text("utf-8") for file in [*folder.glob("*.py"), *folder.glob("templates/*.j2")])
    table = language.load("en").table
    asked = set(re.findall(r'\b(?:words|t)\(\s*"([\w.]+)"', source))
    assert asked - set(table) == set()
    composed = (
        "facts.",
        "parts.",
        "split.",
        "training.",
        "head.disagreement_",
        "calibration.",
        "cell.",
        "labels.",
        "duplicates.",
        "left.",
    )
    left = [key for key in table if f'"{key.removesuffix("_one")}"' not in source and not key.startswith(composed)]
    assert left == []


def test_the_page_in_chinese_says_so_and_has_no_english_sentence(tmp_path, pretend_run):
    run, judged = pretend_run(tmp_path / "run")
    page = write(run.path, "zh").read_text("utf-8")
    assert '<html lang="zh">' in page
    assert f"{judged.n} 张图像中 {judged.correct} 张正确" in page
    body = re.sub(r"<style>.*?</style>|<pre>.*?</pre>|<svg.*?>|</?\w[^>]*>", " ", page.split("<h2>")[1], flags=re.S)
    assert not re.search(r"[A-Za-z]+ [a-z]+ [a-z]+", body)


def test_what_a_run_says_of_its_parts_is_translated():
    words = language.load("zh")
    for validated, given in ((False, set()), (True, {"val"}), (True, set())):
        said = _describe_split(validated, given)
        assert words.said("split", said) != said
    assert words.said("split", "something else") == "something else"


def test_one_and_many_are_told_apart():
    words = language.load("en")
    assert words("head.turned", n=1) == "1 picture was turned as its EXIF tag says."
    assert words("head.turned", n=2000) == "2,000 pictures were turned as their EXIF tags say."


def test_an_unknown_language_is_refused_with_those_that_are_known(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run")
    with pytest.raises(InputError, match=r"unknown language 'zn', did you mean 'zh'\? \(known: en, zh\)"):
        write(run.path, "zn")
