"""From a request to a finished run: resolved, built, run."""

import contextlib
import time

from torch import nn

from convlens.base.errors import InputError
from convlens.base.progress import say
from convlens.classify.caller import undisturbed
from convlens.runs import RunFolder, RunRecord
from convlens.training import automatic, imbalance, rate_finder
from convlens.training import recipe as recipes
from convlens.training.budget import Deadline, TimeIsUp, within
from convlens.training.compare import differences, new_run_from, other_facts
from convlens.training.events import Listener
from convlens.training.experiment import Experiment, build
from convlens.training.handed_over import given_back
from convlens.training.place import open_folder
from convlens.training.plan import LIVE, Plan
from convlens.training.processes.checks import require_equal, require_shareable, same_start
from convlens.training.processes.meeting import folder_of, for_all, joined, same_recipe
from convlens.training.processes.world import World
from convlens.training.request import Request
from convlens.training.resolve import find_source, place_of, resolve, use, with_words_of
from convlens.training.run import Finished, run
from convlens.training.transfer import expanded
from convlens.training.unused import unused


def train(request: Request) -> Finished | RunFolder:
    """Trains what was asked for. A resume of a finished run changes nothing and returns its folder.

    Raises:
        InputError: anything about the request, the data or the disk that the user can mend.
        DivergedError, Interrupted: see `loop.Trainer.fit`.
    """
    began, request = time.perf_counter(), expanded(request)
    own = request.model if isinstance(request.model, nn.Module) else None
    with undisturbed(), given_back(own) if own is not None else contextlib.nullcontext(), joined(request) as world:
        request = for_all(request, world)
        finished = _finished(request, began) if world.leads else None
        finished = world.share(finished) if world.size > 1 else finished
        if finished is not None:
            return RunFolder(finished)
        with folder_of(request, world) as (folder, stored):
            started = request.options["started"] or began
            request = automatic.settled(request, stored, started)
            options = request.options
            with world.await_first("images"):
                experiment, changed = _experiment(request, own, folder, stored, world)
            if world.size > 1:
                experiment.notes += require_equal(experiment, world)
                same_start(experiment, world)
                if options["fast"]:
                    from convlens.training.processes import fast  # only where it is asked for

                    experiment.notes += fast.notes(experiment.module, world)
            first: list[Listener] = []
            if world.leads:
                experiment, first = _tried_out(experiment, request, folder, started)
            if world.size > 1:
                experiment = same_recipe(experiment, world)
            return run(
                experiment, folder, listeners=options["listeners"], changed=changed, first=first,
                tensorboard=options["tensorboard"], log_steps=options["log_steps"], quiet=options["quiet"],
                resume=options["resume"], started=started, world=world, fast=options["fast"],
            )  # fmt: skip


def _finished(request: Request, began: float) -> str | None:
    """The folder of a run that is to go on and is finished already, which is said; None for others."""
    folder, stored = open_folder(request)
    if stored is not None and request.model == automatic.AUTO:  # it was chosen when the run began
        request = automatic.settled(request, stored, began)
    if stored is None or stored.results is None or not folder.report.exists():  # the report comes last
        return None
    say(_nothing_to_do(request, folder, stored), quiet=request.options["quiet"])
    return str(folder.path)


def _tried_out(
    experiment: Experiment, request: Request, folder: RunFolder, started: float
) -> tuple[Experiment, list[Listener]]:
    """The experiment with what is found by trying: learning rate, weights of classes, epochs within a budget."""
    budget, begun = request.options["budget"], folder.holds_weights()
    deadline = None if budget is None else Deadline(budget, started + budget)
    if request.options["find_lr"] and not begun:
        experiment = rate_finder.settled(experiment)
    experiment = imbalance.settled(experiment, deadline)
    if deadline is None:
        return experiment, []
    experiment, ending = within(experiment, deadline, begun=begun)
    return experiment, [TimeIsUp(deadline, ending)]


def _nothing_to_do(request: Request, folder: RunFolder, stored: RunRecord) -> str:
    """What to say of a finished run. Raises `InputError` where another one was asked for."""
    found = differences(with_words_of(request, stored), Plan.of(stored))
    if found:
        raise InputError(f"the run is finished, and another was asked for: {'; '.join(found)}; {new_run_from(folder)}")
    options, numeric = request.options, stored.numeric
    ignored = ["data"] if request.data is not None and place_of(request.data) != stored.data.source else []
    ignored += ["device"] if options["device"] not in (None, "auto", numeric["device"]) else []
    ignored += ["threads"] if options["threads"] not in (None, numeric["threads"]) else []
    ignored += ["deterministic"] if options["deterministic"] and not numeric.get("deterministic") else []
    without = f"; not looked at: {', '.join(ignored)}" if ignored else ""
    return f"the run {folder.path} is finished already: nothing was trained{without}"


def _experiment(
    request: Request, own: nn.Module | None, folder: RunFolder, stored: RunRecord | None, world: World
) -> tuple[Experiment, list[str]]:
    """The experiment that was asked for, or the one that goes on; and what is not as when the run began."""
    options, notes = request.options, []
    source = find_source(request, stored)
    plan = resolve(request, source, stored, notes)
    begun = folder.holds_weights()
    different = differences(plan, Plan.of(stored)) if stored is not None else []
    if begun and different:
        raise InputError(f"cannot resume: {'; '.join(different)}; {new_run_from(folder)}")
    require_shareable(plan, world, fast=options["fast"])
    changed = use(plan, stored, notes)
    if options["fast"] and world.size > 1:
        changed.append(f"{world.size} processes with --fast")
    experiment = build(
        plan, source=source, module=own, own_code=request.model is not None, going_on=folder.holds_checkpoint(),
        weights=options["weights"], quiet=options["quiet"], notes=notes,
    )  # fmt: skip
    if stored is not None:
        different += other_facts(experiment.record, stored)
        if begun and different:
            raise InputError(f"cannot resume: {'; '.join(different)}; {new_run_from(folder)}")
        kept = experiment.record.model_copy(update={"processes": stored.processes}) if different else stored
        experiment.record = kept.model_copy(update={"started_from": plan.started_from})
    experiment.notes += without_effect(request, experiment)
    return experiment, changed


def without_effect(request: Request, experiment: Experiment) -> list[str]:
    """A line that names the settings that were asked for one by one and have no effect."""
    plan, options = experiment.plan, request.options
    idle = unused(
        plan.recipe, engine="torch", handed_over=plan.source == LIVE, parts=experiment.given_parts,
        validated=len(experiment.splits.val) > 0,
    )  # fmt: skip
    asked = recipes.named(options["recipe"], options["settings"])
    found = [key for key in idle if key in asked]
    return [f"without effect, because of other settings: {', '.join(found)}"] if found else []
