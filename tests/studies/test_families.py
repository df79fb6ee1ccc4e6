"""Families of networks: counts against those worked out by hand, and claims that turn with the counts."""

from dataclasses import replace

import pytest

from convlens.studies import families
from convlens.studies.findings import Findings
from convlens.studies.registry import find


@pytest.fixture(scope="module")
def counted():
    drawn = {known.title: families.count(known.name) for known in families.SLIDES}
    return drawn, {title: families.family(title) for title in families.FAMILIES}


def plain34() -> tuple[int, int]:
    """(parameters, multiply-adds) of plain-34, from the table of He et al. (2015) alone."""
    convolutions = [(3, 64, 7, 112)]
    before = 64
    for maps, blocks, side in ((64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7)):
        for _ in range(2 * blocks):
            convolutions.append((before, maps, 3, side))
            before = maps
    weights = [c * m * k * k for c, m, k, _ in convolutions]
    norms = sum(2 * m for _, m, _, _ in convolutions)
    work = sum(w * side * side for w, (*_, side) in zip(weights, convolutions, strict=True))
    return sum(weights) + norms + 512 * 1000 + 1000, work + 512 * 1000


def judged(counted, tmp_path) -> dict[str, bool]:
    findings = Findings(find("families"), tmp_path)
    families.judge(findings, *counted)
    return {claim: holds for claim, (holds, _) in findings.verdicts.items()}


def test_plain_34_is_resnet_34_without_its_shortcuts(counted):
    _, three = counted
    plain, residual = three["plain-34"], three["ResNet-34"]
    assert (plain.parameters, plain.macs) == plain34()
    assert (residual.parameters, residual.macs) == (21_797_672, 3_663_761_408)
    projections = sum(a * b + 2 * b for a, b in ((64, 128), (128, 256), (256, 512)))
    assert residual.parameters - plain.parameters == projections
    assert not any(box.text == "+" for box in plain.boxes)
    assert sum(box.text == "+" for box in residual.boxes) == 16


def test_every_claim_but_that_of_the_half_holds(counted, tmp_path):
    found = judged(counted, tmp_path)
    assert found == dict.fromkeys(find("families").claims, True) | {"half": False}


def test_other_counts_are_judged_otherwise(counted, tmp_path):
    drawn, three = counted
    half = replace(drawn["GoogLeNet"], parameters=drawn["AlexNet"].parameters // 2)
    assert judged((drawn | {"GoogLeNet": half}, three), tmp_path)["half"]
    turned = drawn | {"VGG-16": drawn["ResNet-152"], "ResNet-152": drawn["VGG-16"]}
    found = judged((turned, three), tmp_path)
    assert not any(found[claim] for claim in ("depth", "deeper", "dense"))
    heavy = three | {"ResNet-34": three["VGG-19"]}
    found = judged((drawn, heavy), tmp_path)
    assert not any(found[claim] for claim in ("fifth", "shortcuts"))


def test_the_folder_holds_the_drawings_and_what_the_slides_say(do):
    done = do("families")
    assert (done.folder / "families.svg").read_text("utf-8").startswith("<?xml")
    assert 'href="families.svg"' in done.page
    rows = {row[0]: row for row in done.table("The five of the slides")}
    assert [rows[title][-1] for title in rows] == [None, 16.4, 7.3, 6.67, 3.57]
    assert rows["VGG-16"][1:5] == [138_357_544, "89.4 %", 15_470_264_320, 16]
    assert [row[1] for row in done.table("Their forms for CIFAR-10 in the slides")] == [
        62_006, 9_638_474, 15_253_578, 120_234, 11_173_962,
    ]  # fmt: skip
    assert done.record.verdict == "does not hold"
    assert sorted(done.record.pictures) == ["families.png", "families.svg", "parts.png"]
