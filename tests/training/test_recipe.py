"""Recipes: what is read is what is used, and a slip is named with its remedy."""

import pytest

from convlens.base.errors import InputError
from convlens.training import recipe as recipes


def test_every_shipped_recipe_is_valid():
    assert "default" in recipes.shipped()
    for name in recipes.shipped():
        recipes.load(name)


def test_a_network_has_its_own_recipe_before_its_familys_before_the_default():
    assert recipes.load(model="lenet5", family="lenet") == recipes.load("lenet")
    assert recipes.load(model="unheard_of", family="unheard_of") == recipes.load("default")


def test_settings_win_over_the_command_line_over_the_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('epochs = 7\nbatch_size = 32\n[optimizer]\nname = "adam"\nlr = 0.01\n')
    loaded = recipes.load(str(file), epochs=5, settings=["epochs=3", "optimizer.lr=0.5"])
    assert (loaded.epochs, loaded.batch_size, loaded.optimizer.lr, loaded.optimizer.name) == (3, 32, 0.5, "adam")


def test_a_recipe_can_build_on_another(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('base = "default"\n[optimizer]\nlr = 0.123\n')
    loaded, base = recipes.load(str(file)), recipes.load("default")
    assert loaded.optimizer == base.optimizer.model_copy(update={"lr": 0.123})
    assert loaded.schedule == base.schedule


def test_a_recipe_survives_its_way_through_run_json():
    recipe = recipes.load(settings=["augment.crop_scale=[0.5, 1.0]", "class_weights=[1.0, 2.0]", "epochs=4"])
    assert recipes.parse(recipe.model_dump(mode="json"), "run.json") == recipe


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("optimizer.lrr=1", "'optimizer.lr'"),
        ("lr=1", "'optimizer.lr'"),
        ("optimizer.epochs=1", "'epochs'"),
        ("augmnet.flip=true", "'augment'"),
        ("schedule.warm_up=0.1", "'schedule.warmup'"),
        ("optimizer.name=sdg", "optimizer.name"),
        ("class_weights=balance", "class_weights"),
        ("optimizer.lr=nan", "optimizer.lr"),
        ("label_smoothing=1.5", "label_smoothing"),
        ("ema=0.9x", "ema"),
    ],
)
def test_a_slip_is_named_with_the_nearest_right_key(setting, hint):
    with pytest.raises(InputError) as refused:
        recipes.load(settings=[setting])
    assert hint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_automatic_epochs_spend_a_budget_of_images():
    recipe = recipes.load(settings=["budget=600000", "max_epochs=60"])
    assert recipe.epochs_for(60_000) == 10
    assert recipe.epochs_for(1_000) == 60
    assert recipe.epochs_for(10_000_000) == 3


def test_automatic_batches_leave_twenty_steps_an_epoch():
    recipe = recipes.load(settings=["batch_size=auto"])
    assert [recipe.batch_size_for(n) for n in (10, 400, 1_300, 60_000)] == [10, 32, 65, 256]


def test_automatic_augmentation_never_mirrors_gray_images():
    augment = recipes.load().augment
    assert augment.resolve(1, 28, 28).flip is False
    assert augment.resolve(3, 32, 32).flip is True
    assert augment.resolve(1, 28, 28).shift == 2


def test_a_recipe_that_is_no_utf8_or_far_too_large_is_refused(tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes("# Größe\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        recipes.load(str(path))
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(InputError, match="larger"):
        recipes.load(str(path))
