"""The results of the texts: the same network in PyTorch, and what a share of the work says."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlens.base.seeds import generator
from convlens.studies import textbook_results
from convlens.studies.findings import Findings
from convlens.studies.registry import find

RNG = np.random.default_rng(5)
PIXELS, LABELS = RNG.standard_normal((300, 1, 8, 8)).astype(np.float32), RNG.integers(0, 10, 300)


def test_the_network_from_scratch_has_the_weights_that_the_text_counts():
    graph = textbook_results.build(28, 0)
    assert [p.size for p in graph.parameters.values()] == [800, 25_088 * 10, 10]


def test_its_steps_are_those_of_pytorch(tmp_path, monkeypatch):
    """Without dropout, whose masks no two libraries share; nine batches, so that the order wraps around."""
    monkeypatch.setattr(textbook_results, "KEEP", 1.0)
    graph = textbook_results.build(8, 0)
    monkeypatch.setattr(textbook_results, "build", lambda side, seed: graph)
    network = nn.Sequential(nn.Conv2d(1, 32, 5, padding=2, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(32 * 64, 10))
    with torch.no_grad():
        for parameter, array in zip(network.parameters(), graph.parameters.values(), strict=True):
            parameter.copy_(torch.from_numpy(array))
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    findings = Findings(find("textbook-results"), tmp_path)
    found = textbook_results.descend(findings, 0.01, 9, PIXELS, LABELS, PIXELS, LABELS)
    order = generator(0, "study", "textbook-results", "order").permutation(300)
    for step in range(9):
        batch = np.concatenate([order, order, order])[step * 60 : (step + 1) * 60]
        loss = F.cross_entropy(network(torch.from_numpy(PIXELS[batch])), torch.from_numpy(LABELS[batch]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = (network(torch.from_numpy(PIXELS)).argmax(1).numpy() == LABELS).mean()
    assert found == [pytest.approx(right, abs=0.0034)]
    for parameter, array in zip(network.parameters(), graph.parameters.values(), strict=True):
        np.testing.assert_allclose(array, parameter.detach().numpy(), rtol=1e-3, atol=1e-4)


def test_a_share_of_the_work_judges_nothing_and_says_what_is_not_run(do):
    done = do("textbook-results")
    assert done.record.verdict == "not run"
    rows = {(row[0], row[1]): row for row in done.table("Text and ours")}
    assert rows["VGG-13 on CIFAR-10", "the text's"][2:4] == ["77.5 %", "not run"]
    assert rows["ResNet-18 on CIFAR-10", "the text's"][2:4] == ["79.3 %", "not run"]
    for settings in ("the text's", "ours"):
        found = rows["LeNet-5 on MNIST", settings][3]
        assert 10 < float(found.removesuffix(" %")) < 100
    assert "a share" in done.page
    assert len(done.table("One convolution in NumPy: accuracy on test digits after so many batches")) == 2
