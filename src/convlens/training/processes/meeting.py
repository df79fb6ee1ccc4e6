"""How several processes come to train the same: rank 0 decides, and says so to the others."""

import contextlib
from collections.abc import Iterator

from convlens.base.errors import InputError
from convlens.base.progress import say
from convlens.runs import RunFolder, RunRecord
from convlens.training import recipe as recipes
from convlens.training.automatic import AUTO
from convlens.training.experiment import Experiment
from convlens.training.launch import DEADLINE, end_with_launcher
from convlens.training.launched import launched_size, restarts
from convlens.training.place import reserved
from convlens.training.processes.folder import SharedFolder
from convlens.training.processes.world import ALONE, World
from convlens.training.request import Request


@contextlib.contextmanager
def joined(request: Request) -> Iterator[World]:
    """The processes that train together, if a launcher started this one as one of several."""
    if launched_size() == 1:
        yield ALONE
        return
    from convlens.training.processes import group  # only where it is asked for

    end_with_launcher()

    with group.joined(request.options["deadline"] or DEADLINE) as world:
        yield world


def for_all(request: Request, world: World) -> Request:
    """The request as each of several processes has it. Raises `InputError` for what one process alone can do."""
    request = _going_on(request, world)
    options = request.options
    if world.size == 1:
        if options["fast"] and options["processes"] in (None, 1):
            raise InputError("--fast is for --processes: one process has nothing to wait for")
        return request
    if options["processes"] not in (None, world.size):
        raise InputError(f"--processes {options['processes']}: the launcher started {world.size}; leave it away")
    if options["budget"] is not None or request.model == AUTO:
        raise InputError(f"{world.size} processes: --budget and auto measure one process; name network and epochs")
    alone = {} if world.leads else {"quiet": True, "tensorboard": False, "listeners": (), "log_steps": None}
    return Request(request.model, request.data, **{**options, "processes": world.size, **alone})


def _going_on(request: Request, world: World) -> Request:
    """Where torchrun starts all again, they go on with the run that they had begun."""
    options, (done, most) = request.options, restarts()
    if most and options["out"] is None:
        raise InputError(f"torchrun --max-restarts {most}: name a run folder with --out, for a restart to go on with")
    if not done or options["resume"]:
        return request
    say(f"started again ({done} of {most}): going on from the last checkpoint", quiet=not world.leads)
    return Request(request.model, request.data, **{**options, "resume": True})


@contextlib.contextmanager
def folder_of(request: Request, world: World) -> Iterator[tuple[RunFolder, RunRecord | None]]:
    """`place.reserved` by rank 0, for all."""
    if world.size == 1:
        with reserved(request) as found:
            yield found
        return
    with contextlib.ExitStack() as stack:
        path, stored = "", None
        if world.leads:
            folder, stored = stack.enter_context(reserved(request))
            path = str(folder.path)
        path, said = world.share([path, None if stored is None else stored.model_dump(mode="json")])
        yield SharedFolder(path, world), None if said is None else RunRecord.model_validate(said)


def same_recipe(experiment: Experiment, world: World) -> Experiment:
    """The experiment with the recipe of rank 0, where what was tried out may have settled some keys."""
    said = world.share(experiment.plan.recipe.model_dump(mode="json"))
    if world.leads:
        return experiment
    recipe = recipes.parse(said, "the recipe of process 0")
    return experiment.with_recipe(**{key: getattr(recipe, key) for key in type(recipe).model_fields})
