"""What an augmentation's settings accept, and what they say to the rest."""

import json

import pytest

from convlens.base.errors import InputError
from convlens.data.augment import Augmentation, AugmentSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flip": "sometimes"}, "flip: .*(got 'sometimes')"),
        ({"flip": 1}, "flip: Input should be a valid boolean"),
        ({"flip": "auto"}, "flip: .*(got 'auto')"),
        ({"vertical_flip": "yes"}, "vertical_flip: Input should be a valid boolean"),
        ({"shift": -1}, "shift: .*greater than or equal to 0"),
        ({"shift": 1.5}, "shift: .*integer"),
        ({"shift": "auto"}, "shift: .*integer"),
        ({"cutout": True}, "cutout: .*integer"),
        ({"rotate": 200.0}, "rotate: .*less than or equal to 180"),
        ({"noise": float("nan")}, "noise: .*finite"),
        ({"mixup": -0.1}, "mixup: .*greater than or equal to 0"),
        ({"crop_scale": (0.5, 0.2)}, "crop_scale: must be two numbers with 0 < smallest"),
        ({"crop_scale": (0.5, 1.2)}, "largest <= 1"),
        ({"crop_scale": 0.5}, "crop_scale: .*tuple"),
        ({"crop_ratio": (0, 1)}, "crop_ratio: must be two numbers"),
        ({"padding": "reflct"}, "padding: .*'reflect'"),
        ({"flips": True}, "unknown key 'flips', did you mean 'flip'"),
    ],
)
def test_a_senseless_setting_is_refused_in_words(changes, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**changes)


def test_settings_survive_json():
    chosen = Augmentation(flip="alternating", shift=2, crop_scale=(0.5, 1.0), noise=0.05, mixup=0.4, padding="reflect")
    assert Augmentation(**json.loads(chosen.model_dump_json())) == chosen


def test_what_a_recipe_asks_for_is_settled_by_the_images():
    asked = AugmentSettings(cutout=3)
    assert asked.resolve(3, 32, 28) == Augmentation(flip=True, shift=2, cutout=3)
    assert asked.resolve(1, 32, 28) == Augmentation(flip=False, shift=2, cutout=3)
    assert AugmentSettings(crop_scale=(0.3, 1.0)).resolve(1, 28, 28).shift == 0
    assert AugmentSettings.model_fields.keys() == Augmentation.model_fields.keys()
