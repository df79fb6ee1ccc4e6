"""A run judged on labeled pictures: on its own test part, or on others, as far as they say something about it.

Other pictures count where their class has the name of one of the run's, and where the run was not trained on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from convlens import data as sources
from convlens.base.errors import InputError
from convlens.classify.classifier import Classifier
from convlens.classify.evaluation import Evaluation, Scope
from convlens.data import Images, Preprocess, Splits
from convlens.data.layout.known import match_names
from convlens.runs import RunFolder, RunRecord, read_trained

_NAMED = 100  # classes that a line names


def judge(classifier: Classifier, folder: RunFolder, record: RunRecord, data: Any = None) -> Evaluation:
    """See `api.Run.evaluate`. folder, record: of the run that the classifier is of."""
    if data is None:
        return classifier.evaluate(own_parts(classifier.preprocess, record).test)
    if isinstance(data, Mapping) and "train" not in data:  # nothing to train on is needed
        data = next((data[part] for part in ("test", "val") if part in data), data)
    source = sources.find(data, judged_by=classifier.classes)
    reading = source.read(classifier.preprocess)
    parts = reading.parts
    scope = Scope(unreadable=reading.skipped, notes=reading.notes)
    part = "test" if "test" in parts else "train"
    if len(parts[part]) == 0:
        why = f" ({reading.skipped[0][0]}: {reading.skipped[0][1]})" if reading.skipped else ""
        raise InputError(f"{source.name} has no picture that the run can be judged on{why}")
    if len(parts) > 1 and part == "train":
        scope = scope.noting(f"{source.name} has no test part: its training part is taken")
    images, scope = _in_classes_of_the_run(parts[part], classifier.classes, scope)
    images, scope = _not_trained_on(images, folder, record, scope)
    if scope.unreadable:
        path, why = scope.unreadable[0]
        scope = scope.noting(f"{_pictures(len(scope.unreadable))} could not be judged, such as {path}: {why}")
    return replace(classifier.evaluate(images), scope=scope)


def own_parts(preprocess: Preprocess, record: RunRecord, data: Any = None, *, whole: bool = False) -> Splits:
    """The training, validation and test images of a run, as it had them.

    Args:
        data: the same images, where the run cannot say where they are: they were arrays, or they lie elsewhere now.
        whole: training and validation images must be the same, too, not only those of the test.

    Raises:
        InputError: they are not there, or no longer the same.
    """
    where = record.data.source if data is None else "these images"
    if data is None and record.data.source == "arrays":
        raise InputError("the run was trained on arrays, which it does not keep; pass the data to evaluate on")
    if data is None and not sources.may_be_there(record.data.source):
        raise InputError(
            f"the run's data are no longer at {record.data.source}; name where they are now, or other pictures: --data"
        )
    classes = record.classes if record.data.named else None
    source = sources.find(record.data.source if data is None else data, stream=record.data.streamed, classes=classes)
    splits = sources.split(
        source.read(preprocess).parts,
        seed=record.seed,
        val_fraction=record.recipe["val_fraction"],
        test_fraction=record.recipe["test_fraction"],
    )
    stored = record.data.fingerprint.split("-")
    if whole and [part.fingerprint()[:16] for part in splits] != stored:
        raise InputError(
            f"the images of {where} are not, or no longer, those of the run: it cannot be examined with them"
        )
    if splits.test.fingerprint()[:16] != stored[-1]:
        raise InputError(
            f"the test images of {where} are no longer those of the run; to judge it on what is there "
            "now, name the data: --data (pictures that it was trained on are left out)"
        )
    return splits


def _not_trained_on(images: Images, folder: RunFolder, record: RunRecord, scope: Scope) -> tuple[Images, Scope]:
    trained = read_trained(folder)
    if trained is None:
        return images, scope.noting(
            "the run keeps no fingerprints of its training pictures (it is of an earlier version, or very large): "
            "whether it was trained on these is not known"
        )
    known = np.isin(images.fingerprints(), trained)
    count = int(known.sum())
    scope = replace(scope, trained=count)
    if count == 0:
        return images, scope
    if count == len(images):
        raise InputError(
            f"the run was trained on all {count:,} pictures of {images.name}, which say nothing about new ones; "
            f"give pictures that it has not seen{_own_test(record)}"
        )
    said = f"{_pictures(count)} of {len(images):,} left out: the run was trained on them"
    return images.select(~known), scope.noting(said)


def _own_test(record: RunRecord) -> str:
    return "" if record.data.source == "arrays" else ", or leave --data away for the run's own test part"


def _in_classes_of_the_run(images: Images, ours: tuple[str, ...], scope: Scope) -> tuple[Images, Scope]:
    """The pictures whose class the run knows, with the run's labels."""
    if images.classes == ours and images.counts().all():
        return images, scope
    numbers = match_names(images.classes, ours)
    counts = images.counts()
    kept = numbers[images.labels] >= 0
    if not kept.any():
        raise InputError(_nothing_fits(images, ours))
    other = {name: int(counts[k]) for k, name in enumerate(images.classes) if numbers[k] < 0 and counts[k]}
    there = {int(numbers[k]) for k in range(len(numbers)) if numbers[k] >= 0 and counts[k]}
    absent = tuple(name for k, name in enumerate(ours) if k not in there)
    renamed = [
        f"{name} as {ours[numbers[k]]}"
        for k, name in enumerate(images.classes)
        if numbers[k] >= 0 and name != ours[numbers[k]] and counts[k]
    ]
    scope = replace(scope, other_classes=other, absent=absent)
    if other:
        scope = scope.noting(
            f"{_pictures(sum(other.values()))} left out, of classes that the run does not know: {listed(list(other))}"
        )
    if renamed:
        scope = scope.noting(f"taken by their names but for case or spelling: {listed(renamed)}")
    if absent:
        scope = scope.noting(
            f"the accuracy is over pictures of {len(ours) - len(absent)} of the run's {len(ours)} classes; "
            f"not in this data: {listed(absent)}"
        )
    chosen = images if kept.all() else images.select(kept)
    return Images(chosen.pixels, numbers[chosen.labels], ours, images.name, chosen.paths), scope


def _nothing_fits(images: Images, ours: Sequence[str]) -> str:
    numbers = all(name.isdecimal() for name in images.classes) and not all(name.isdecimal() for name in ours)
    how = "give the labels as these names" if numbers else "rename its classes to these"
    return (
        f"{images.name} has none of the run's classes, but {listed(images.classes)}; "
        f"the run was trained on {listed(ours)}; {how}"
    )


def listed(names: Sequence[str]) -> str:
    """The names, up to a hundred of them."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _pictures(count: int) -> str:
    return f"{count:,} picture{'s' * (count != 1)}"
