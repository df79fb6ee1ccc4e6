"""From what was asked for to a plan: what was not asked for is as the run began, or at its default."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from convlens import data, models
from convlens.base.errors import InputError
from convlens.base.hardware import usable_cores
from convlens.base.progress import bars
from convlens.classify.device import available, choose
from convlens.data.preprocess import Preprocess
from convlens.models.build import is_file_reference
from convlens.runs import RunRecord
from convlens.training import recipe as recipes
from convlens.training import settings, transfer
from convlens.training.input_size import input_for
from convlens.training.numeric import Numeric
from convlens.training.options import DEFAULT_DATA, DEFAULT_MODEL, DEFAULT_SEED
from convlens.training.plan import ARRAYS, LIVE, Plan
from convlens.training.processes.shards import DEFAULT
from convlens.training.recipe import Recipe
from convlens.training.recording import versions
from convlens.training.request import Request
from convlens.training.starting import start_of


def find_source(request: Request, stored: RunRecord | None = None) -> data.Source:
    """The images that were asked for, or those of the run that goes on: found and listed, not yet read."""
    options = request.options
    asked = request.data
    if asked is None:
        asked = stored.data.source if stored else DEFAULT_DATA
    streamed = options["stream"] or (stored is not None and stored.data.streamed)
    named = options["classes"] or (stored.classes if stored is not None and stored.data.named else None)
    with bars(options["quiet"], unit="B") as progress:
        return data.find(asked, stream=streamed, classes=named, on_download=progress)


def resolve(request: Request, source: data.Source, stored: RunRecord | None, notes: list[str]) -> Plan:
    """The plan. notes: what a person should know is added, one line each.

    Args:
        source: the images; they decide the size of the input where nothing else does.
        stored: the run that is to go on, or None.

    Raises:
        InputError: an unknown name or recipe, a device that is not here, settings that cannot go together.
    """
    plan = with_words_of(request, stored)
    if stored is None or request.options["size"] is not None:
        size, own = request.options["size"], entry(plan.network)
        kept = transfer.input_of(plan.started_from, size) if plan.recipe.head == "features" else None
        recipe = plan.recipe if kept is None else transfer.with_scale_of(kept, plan.recipe)
        plan = dataclasses.replace(plan, preprocess=kept or input_for(source, own, size), recipe=recipe)
    numeric = _numeric(request, plan, stored, notes)
    return dataclasses.replace(plan, numeric=numeric)


def with_words_of(request: Request, stored: RunRecord | None) -> Plan:
    """The plan as far as words decide it: a stand-in for the machine, and for the input where nobody named it."""
    options, began = request.options, Plan.of(stored) if stored else None
    network = _network(request, began)
    size = options["size"]
    side = (size, size) if isinstance(size, int) else size
    before = began.preprocess if began else Preprocess((28, 28), 1)
    return Plan(
        **network,
        data=began.data if began and request.data is None else place_of(request.data),
        preprocess=before if side is None else Preprocess(side, before.channels, interpolation=before.interpolation),
        recipe=_recipe(request, began, entry(network["network"])),
        seed=_first(options["seed"], began and began.seed, DEFAULT_SEED),
        engine=_first(options["engine"], began and began.engine, "torch"),
        numeric=began.numeric if began else Numeric("cpu", "float32", channels_last=True, threads=1),
        classes=_tuple(options["classes"]) or (began.classes if began else None),
        streamed=options["stream"] or (began is not None and began.streamed),
        started_from=start_of(options["weights"], began.started_from if began else None),
    )


def entry(reference: str) -> models.ModelEntry | None:
    """The zoo's entry of a name; None for a network of the user's own."""
    return models.get(reference) if reference in models.names() else None


def place_of(asked: Any) -> str:
    """A name, or a path that holds from everywhere; not where a link leads: what it is called can mean something."""
    if asked is None:
        return DEFAULT_DATA
    if not isinstance(asked, (str, Path)):
        return ARRAYS
    if str(asked) in data.names():
        return str(asked)
    return os.path.abspath(Path(asked).expanduser())


def _network(request: Request, began: Plan | None) -> dict[str, Any]:
    """network, source and file of a plan."""
    model = request.model
    if isinstance(model, nn.Module):
        return {"network": f"{type(model).__module__}.{type(model).__qualname__}", "source": LIVE, "file": None}
    if model is None and began is not None:
        if began.source != "zoo" or is_file_reference(began.network):
            where = "on the command line" if began.source == "file" else "to cl.train"
            raise InputError(
                f"the run's network is {began.network!r}, its author's own code; to go on, give it again {where}"
            )
        return {"network": began.network, "source": "zoo", "file": None}
    model = model or DEFAULT_MODEL
    if is_file_reference(model):
        return {"network": model, "source": "file", "file": os.path.abspath(model.rpartition(":")[0])}
    return {"network": models.get(model).name, "source": "zoo", "file": None}


def _recipe(request: Request, began: Plan | None, own: models.ModelEntry | None) -> Recipe:
    options = request.options
    found = recipes.load(
        began.recipe if began is not None and options["recipe"] is None else options["recipe"],
        model=own.name if own else None,
        family=own.family if own else None,
        settings=options["settings"],
        epochs=options["epochs"],
        batch_size=options["batch_size"],
        precision=options["precision"],
    )
    chosen = began is None or options["recipe"] is not None
    if options["processes"] is not None and chosen and not options["fast"] and found.shards is None:
        return found.model_copy(update={"shards": DEFAULT})
    return found


def _numeric(request: Request, plan: Plan, stored: RunRecord | None, notes: list[str]) -> Numeric:
    """Device, precision, threads: as asked for, as the run began, or the best that is here."""
    options, recipe = request.options, plan.recipe
    device = options["device"]
    wanted, precision = device if device is not None else "auto", recipe.precision
    if plan.engine == "numpy":  # whatever else is asked for
        if device not in (None, "auto") and choose(wanted)[0] != "cpu":
            notes.append(f"the NumPy engine computes on the CPU, not on {wanted}")
        wanted, precision = "cpu", "float32"
    chosen = settings.settle(
        wanted, precision, compile=recipe.compile, deterministic=options["deterministic"],
        threads=options["threads"] or _threads(options, recipe),
    )  # fmt: skip
    if recipe.shards is not None and options["threads"] is None:
        chosen.reasons["threads"] = "one for each shard, so that the bits are the same for any number of processes"
    if recipe.compile and recipe.shards is not None:
        chosen = dataclasses.replace(chosen, compile=False)
        notes.append("not compiled: shards are computed layer by layer")
    elif recipe.compile and plan.engine == "torch" and not chosen.compile:
        notes.append(f"warning: not compiled: {chosen.reasons['compile'].removeprefix('off: ')}")
    if stored is not None:
        before = Numeric(**stored.numeric)
        if device in (None, before.device) and available(before.device):
            chosen = dataclasses.replace(before, threads=options["threads"] or before.threads)
        if options["deterministic"] and not chosen.deterministic:
            notes.append("--deterministic is ignored: the run began without it")
    return chosen


def _threads(options: dict[str, Any], recipe: Recipe) -> int | None:
    """Of each of several processes, if nobody named a number: where bits count, one on every machine."""
    if recipe.shards is not None:
        return 1
    return max(1, usable_cores() // options["processes"]) if options["processes"] else None


def use(plan: Plan, stored: RunRecord | None, notes: list[str]) -> list[str]:
    """Puts the numeric settings in force. Returns what is not as when the run began, in words, and says so."""
    changed = []
    if stored is not None:
        for name in ("device", "threads"):
            now, then = getattr(plan.numeric, name), stored.numeric[name]
            changed += [f"{name}: {now} instead of {then}"] if now != then else []
    changed += settings.apply(plan.numeric)
    then = stored.versions if stored else {}
    changed += [
        f"{name}: {now} instead of {then[name]}" for name, now in versions().items() if then.get(name, now) != now
    ]
    if changed:
        notes.append(f"warning: {'; '.join(changed)}: the result will not be bit-identical")
    return changed


def _tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _first(*values: Any) -> Any:
    """The first that is not None."""
    return next(value for value in values if value is not None)
