"""Where the network looked: maps over the surest mistakes, on the page and in a run folder."""

import numpy as np
import torch
from torch import nn

import convlens as cl
from convlens.classify.classifier import Classifier
from convlens.data import Preprocess
from convlens.report import write
from convlens.report.examine import record
from convlens.report.examine.where import overlays
from typed import present


class _Corner(nn.Module):
    """Says "bright" for what is bright in the upper left quarter, and looks nowhere else."""

    def __init__(self):
        super().__init__()
        self.maps, self.fc = nn.Conv2d(1, 1, 1), nn.Linear(1, 2)
        with torch.no_grad():
            self.maps.weight.fill_(1)
            present(self.maps.bias).zero_()
            self.fc.weight.copy_(torch.tensor([[-1.0], [1.0]]))
            self.fc.bias.zero_()

    def forward(self, x):
        x = self.maps(x)
        return self.fc((x[..., : x.shape[2] // 2, : x.shape[3] // 2]).mean((2, 3)))


def test_the_map_is_bright_where_the_decision_comes_from():
    pixels = np.zeros((2, 16, 16, 1), np.uint8)
    pixels[0, :8, :8] = pixels[1, 2:6, 2:6] = 255
    pixels[:, 12:, 12:] = 60
    classifier = Classifier(_Corner(), Preprocess((16, 16), 1, (0.0,), (1.0,)), ("dark", "bright"))
    drawn, notes = overlays(classifier, pixels)
    assert drawn.shape == (2, 16, 16, 3)
    yellow = drawn[..., 0].astype(int) - drawn[..., 2]  # cividis goes from blue to yellow
    assert yellow[0, :8, :8].min() > 50 > 0 > yellow[0, 9:12, 9:12].max()
    assert yellow[1, 3:5, 3:5].min() > 50
    assert "layer maps" in notes[0]


def test_the_maps_stand_beside_the_mistakes_of_an_examined_run(tmp_path):
    run = cl.train("lenet5", "digits", recipe="fast", settings=["epochs=1"], out=tmp_path / "run", quiet=True)
    plain = write(run.path).read_text("utf-8")
    assert "Grad-CAM" not in plain.split('id="mistakes"')[1].split("</section>")[0]
    page = run.report(examine=True).read_text("utf-8").split('id="mistakes"')[1].split("</section>")[0]
    found, pictures = present(record.load(run.path))
    where = present(found.where)
    assert where.index == run.evaluate().mistakes(36).tolist()
    assert pictures["where"].shape == (len(where.index), 28, 28, 3)
    assert "Grad-CAM, layer features.s4" in page or "Grad-CAM, layer features.a3" in page
    assert page.count("<img") == 2 * len(where.index)
