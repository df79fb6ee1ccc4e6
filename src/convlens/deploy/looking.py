"""What explanations look at: the pictures that people hand over, and data sets to search."""

from typing import Any

import numpy as np

from convlens import data as sources
from convlens.base.errors import InputError
from convlens.base.progress import say
from convlens.classify.classifier import Classifier
from convlens.data import Images
from convlens.deploy.inputs import Say, pictures, reason
from convlens.deploy.judging import own_parts
from convlens.inspection.explain import Pictures
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


def searched(classifier: Classifier, record: RunRecord, data: Any = None) -> Images:
    """The data set that methods search: the test part of `data`, or of the run's own. Raises `InputError`."""
    if data is None:
        return own_parts(classifier.preprocess, record).test
    source = sources.find(data, judged_by=classifier.classes)
    parts = source.read(classifier.preprocess).parts
    images = parts["test" if "test" in parts else "train"]
    if not len(images):
        raise InputError(f"{source.name} has no picture that can be read")
    return images
