"""What explanations look at: the pictures that people hand over, and data sets to search."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from convlens import data as sources
from convlens.base.errors import InputError
from convlens.base.progress import say
from convlens.classify.classifier import Classifier
from convlens.data import Images
from convlens.deploy.inputs import Say, pictures, reason
from convlens.deploy.judging import own_parts
from convlens.inspection.explain import Explanations, Options, Pictures, Subject, explain
from convlens.runs import RunRecord

MOST = 64  # pictures; each becomes a sheet


def prepared(classifier: Classifier, images: Any, on_note: Say = say) -> Pictures:
    """Pictures as the network takes them, with names. images: what `predict` takes; None for none.

    Raises:
        InputError: what is no picture, a file that cannot be read, more than 64 pictures.
    """
    found, names = [], []
    for item in pictures(images, classifier.preprocess.channels, on_note)[1] if images is not None else ():
        if len(found) == MOST:
            raise InputError(f"more than {MOST} pictures to explain: name fewer, each becomes a sheet")
        try:
            if isinstance(item.picture, InputError):
                raise item.picture
            found.append(classifier.preprocess.prepare(item.picture, item.name))
        except InputError as error:
            raise InputError(reason(item, error)) from None
        names.append(item.path or item.name)
    shape = (0, *classifier.preprocess.size, classifier.preprocess.channels)
    return Pictures(np.stack(found) if found else np.zeros(shape, np.uint8), tuple(names))


def searched(classifier: Classifier, record: RunRecord | None, data: Any = None) -> Images:
    """The data set that methods search: the test part of `data`, or of the run's own. Raises `InputError`.

    record: of the classifier's run; None for a network that is none, whose classes are not those of the data.
    """
    if data is None:
        if record is None:
            raise InputError("a network that is no run has no test part to search: name a data set by --data")
        return own_parts(classifier.preprocess, record).test
    source = sources.find(data) if record is None else sources.find(data, judged_by=classifier.classes)
    parts = source.read(classifier.preprocess).parts
    images = parts["test" if "test" in parts else "train"]
    if not len(images):
        raise InputError(f"{source.name} has no picture that can be read")
    return images


def look(
    classifier: Classifier,
    name: str,
    images: Any,
    what: Sequence[str],
    options: Options,
    *,
    record: RunRecord | None = None,
    data: Any = None,
    on_note: Say = say,
) -> Explanations:
    """See `api.Run.explain`. name: in titles. record: of the classifier's run, None for a network that is none."""
    subject = Subject(classifier, name, lambda: searched(classifier, record, data), on_note)
    return explain(subject, prepared(classifier, images, on_note), what, options)
