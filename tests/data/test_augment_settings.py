"""What an augmentation's settings accept, and what they say to the rest."""

import pytest

from convlens.base.errors import InputError
from convlens.data.augment import Augmentation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flip": "sometimes"}, "flip must be true, false or"),
        ({"flip": 1}, "flip must be"),
        ({"vertical_flip": "yes"}, "vertical_flip must be true or false"),
        ({"shift": -1}, "shift must be a whole number"),
        ({"shift": 1.5}, "shift must be a whole number"),
        ({"cutout": True}, "cutout must be a whole number"),
        ({"rotate": 200.0}, "at most 180"),
        ({"noise": float("nan")}, "noise must be a number"),
        ({"mixup": -0.1}, "mixup must be a number"),
        ({"crop_scale": (0.5, 0.2)}, "crop_scale must be two numbers"),
        ({"crop_scale": (0.5, 1.2)}, "largest <= 1"),
        ({"crop_scale": 0.5}, "crop_scale must be two numbers"),
        ({"crop_ratio": (0, 1)}, "crop_ratio must be two numbers"),
        ({"padding": "reflct"}, "did you mean 'reflect'"),
    ],
)
def test_a_senseless_setting_is_refused_in_words(changes, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**changes)


def test_settings_survive_json():
    chosen = Augmentation(flip="alternating", shift=2, crop_scale=(0.5, 1.0), noise=0.05, mixup=0.4, padding="reflect")
    assert Augmentation.from_dict(chosen.to_dict()) == chosen
    with pytest.raises(InputError, match="unknown key 'flips', did you mean 'flip'"):
        Augmentation.from_dict({"flips": True})
