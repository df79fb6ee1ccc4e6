"""Settings of a recipe that have no effect on a run because of others: `betas` under sgd, `padding` without a shift."""

from convlens.training.recipe import Recipe, leaves

_OPTIMIZER = {
    "sgd": {"lr", "momentum", "nesterov", "weight_decay", "bias_lr", "layer_decay"},
    "adam": {"lr", "betas", "eps", "weight_decay", "bias_lr", "layer_decay"},
    "adamw": {"lr", "betas", "eps", "weight_decay", "bias_lr", "layer_decay"},
    "rmsprop": {"lr", "momentum", "alpha", "centered", "eps", "weight_decay", "bias_lr", "layer_decay"},
    "muon": {"lr", "momentum", "nesterov", "weight_decay", "bias_lr", "muon_lr", "muon_normalize"},
}
_SCHEDULE = {
    "constant": {"warmup"},
    "cosine": {"warmup", "final"},
    "one-cycle": {"warmup", "final"},
    "triangular": {"warmup", "final"},
    "step": {"warmup", "milestones", "gamma"},
    "plateau": {"warmup", "gamma", "patience"},
}
_OF_A_HEAD = {
    "head", "epochs", "val_fraction", "test_fraction", "class_weights", "views", "early_stopping", "model", "whitening",
    "checkpoint_seconds", "eval_batch_size", "preprocess", "fine_tune",
}  # fmt: skip
_NOT_AFTER_A_HEAD = {"ema", "lookahead", "identity_start", "shards"}
_OF_A_BUILT_NETWORK = ("model", "whitening", "identity_start")


def unused(recipe: Recipe, *, engine: str, handed_over: bool, parts: set[str], validated: bool) -> list[str]:
    """Dotted keys of the settings that could have any other value and the run would be the same.

    Args:
        handed_over: the network came as an object: nothing is left to build.
        parts: of the source, such as {"train", "test"}: those are not cut.
        validated: whether there are validation images.
    """
    keys = [key for key, _ in leaves(recipe.model_dump())]
    idle = _by_name(recipe)
    if isinstance(recipe.epochs, int):
        idle |= {"budget", "max_epochs"}
    idle |= {f"{part}_fraction" for part in ("val", "test") if part in parts}
    if not validated:
        idle |= {"early_stopping", "schedule.patience"}
        idle |= {"schedule.gamma"} if recipe.schedule.name == "plateau" else set()
    if recipe.head != "features":
        idle.add("fine_tune")
    elif recipe.fine_tune in (0, "auto"):
        idle |= {key for key in keys if key.split(".")[0] not in _OF_A_HEAD and key != "augment.flip"}
    else:
        idle |= _NOT_AFTER_A_HEAD
    if handed_over:
        idle |= {key for key in keys if key.split(".")[0] in _OF_A_BUILT_NETWORK}
    if engine == "numpy":
        from convlens.training.numpy_engine import SUPPORTED  # only where it is asked for: 70 ms

        idle |= {key for key in keys if key not in SUPPORTED and key.split(".")[0] not in SUPPORTED}
    return [key for key in keys if key in idle]


def _by_name(recipe: Recipe) -> set[str]:
    """What the names of optimizer and schedule, and what is off, leave without effect."""
    optimizer, schedule, augment = recipe.optimizer, recipe.schedule, recipe.augment
    idle = {f"optimizer.{key}" for key in type(optimizer).model_fields if key not in _OPTIMIZER[optimizer.name]}
    idle |= {f"schedule.{key}" for key in type(schedule).model_fields if key not in _SCHEDULE[schedule.name]}
    idle -= {"optimizer.name", "schedule.name"}
    if optimizer.momentum == 0:
        idle.add("optimizer.nesterov")
    if augment.crop_scale is None:
        idle.add("augment.crop_ratio")
    if augment.rotate == 0 and (augment.shift == 0 or (augment.shift == "auto" and augment.crop_scale is not None)):
        idle.add("augment.padding")
    return idle
