"""The Python face: `cl.train`, `cl.load` and the `Run` that both give."""

import statistics
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from torch import nn

from convlens import report
from convlens.base.errors import InputError
from convlens.base.progress import bars, say
from convlens.classify.classifier import Classifier, Prediction
from convlens.classify.evaluation import Evaluation
from convlens.data import Images, Preprocess
from convlens.deploy import predictions
from convlens.deploy.exporters import Exported
from convlens.deploy.inputs import pictures
from convlens.deploy.judging import judge, own_parts
from convlens.deploy.many import Answered, predict_into
from convlens.deploy.of_run import export_run
from convlens.deploy.predictions import Failure
from convlens.report.examine import Subject, examine, require_cleanlab
from convlens.runs import RunFolder, RunRecord
from convlens.training import job, launch, launched
from convlens.training.fresh import fresh_path
from convlens.training.options import TrainOptions, described, python_signature
from convlens.training.request import Request
from convlens.training.run import Finished

if TYPE_CHECKING:
    from convlens.inspection.explain import Explanations
    from convlens.inspection.trace import Trace
    from convlens.inspection.trace.gradient import GradientTrace


class Run:
    """A trained network and its folder.

    Attributes:
        path: the run folder.
        record: what `run.json` says: network, classes, preprocessing, recipe, seed, data, results.
    """

    def __init__(self, path: Path | str, *, model: str | nn.Module | None = None, device: str | None = None):
        self.folder = RunFolder(path)
        self.path = self.folder.path
        self.record: RunRecord = self.folder.read_record()
        self._model, self._device = model, device
        self._classifier: Classifier | None = None
        self._noted: set[str] = set()

    def __repr__(self) -> str:
        accuracy = f", test accuracy {self.results['test']['accuracy']:.4f}" if self.record.results else ", unfinished"
        return f"Run({str(self.path)!r}: {self.record.model.name} on {self.record.data.name}{accuracy})"

    @property
    def results(self) -> dict[str, Any]:
        """Accuracies, losses, times. Raises `InputError` for an unfinished run."""
        if self.record.results is None:
            raise InputError(f"the run {self.path} is not finished: continue it with `convlens train --resume`")
        return self.record.results

    def classifier(self) -> Classifier:
        """The network with its best weights, on the run's device. Read from the folder once."""
        if self._classifier is None:
            self._classifier = Classifier.from_run(
                self.folder, record=self.record, model=self._model, device=self._device, on_note=self._note
            )
            unfinished = self.folder.unfinished(self.record)
            if unfinished:
                self._note(unfinished)
        return self._classifier

    @property
    def module(self) -> nn.Module:
        """The trained `nn.Module`, in inference mode."""
        return self.classifier().module

    def predict(self, images: Any, *, top: int = 5) -> Any:
        """The class of a picture, or a list of them for several pictures.

        Args:
            images: a path, a Pillow image, the bytes or the open file of a picture, an array or tensor; a stack of
                pictures, a folder, zip or tar, a list or a generator of any of these (see `deploy.predictions.stream`).
                What had to be guessed about the axes of an array is said on stderr.
            top: how many classes to rank.

        Raises:
            InputError: what is no picture; a single file that cannot be read. Among several, such a file becomes a
                `Failure` in the list.
        """
        classifier = self.classifier()
        several, items = pictures(images, classifier.preprocess.channels, self._note)
        found = list(predictions.answers(classifier, items, top))
        if len(found) == 1 and isinstance(found[0], Failure) and (not several or found[0].path == str(images)):
            raise InputError(found[0].error)
        return found if several else found[0]

    def stream(self, images: Any, *, top: int = 5) -> Iterator[Prediction | Failure]:
        """`predict`, one by one while pictures are read: of a folder or generator of any length."""
        return predictions.stream(self.classifier(), images, top=top, on_note=self._note)

    def predict_into(self, out: Path | str, images: Any, *, top: int = 5, quiet: bool = True) -> Answered:
        """Answers any number of pictures into a .csv, .jsonl or .parquet; goes on after a stop. See `deploy.many`."""
        return predict_into(self.classifier(), images, out, top=top, on_note=self._note, quiet=quiet)

    def evaluate(self, data: Any = None) -> Evaluation:
        """Judges the run on the test part of its own data, or on other data with classes of the same names.

        Args:
            data: a data set name, a path, `Images`, or a pair (pixels, labels). Of data with parts, the test
                part counts; of data without, everything does. Pictures that the run was trained on, and pictures of
                classes that it does not know, are left out: `Evaluation.scope` says how many.

        Raises:
            InputError: nothing that counts is left, no such data, data that are not where they were.
        """
        return judge(self.classifier(), self.folder, self.record, data)

    def export(
        self, format: str = "text", out: Path | str | None = None, *, data: Any = None, **settings: Any
    ) -> Exported:
        """Writes the network as a file for others, and checks it. See `deploy.exporters`.

        Args:
            out: the file; by default one in the run folder.
            data: the run's own images, where it cannot say where they are: some forms are checked on its test part.
            settings: of the format, such as `with_preprocessing=True` of "onnx"; see `Exporter.takes`.

        Raises:
            InputError: no such format, a check that failed; a format that needs the code of a network that is not of
                the zoo and was not handed over.
        """
        no_code = self.record.model.source != "zoo" and self._model is None
        classifier = (
            self.classifier()
            if not no_code
            else Classifier.from_run(self.folder, record=self.record, weights_only=True, on_note=self._note)
        )
        return export_run(classifier, self.folder, self.record, format, out, data, settings)

    def trace(self, image: Any, layer: str | None = None, at: Sequence[int] | None = None) -> "Trace":
        """Where one number of the network comes from, for one picture: formula, terms, receptive field, pixels.

        Args:
            image: one picture, as `predict` takes it.
            layer: path of a module, whose last operation counts, or a node's name; by default the network's output.
            at: which cell of the layer's output, such as (C, Y, X); by default the one with the largest value.

        Raises:
            InputError: no picture or several, no such layer or cell, an operation that the NumPy engine lacks.
        """
        from convlens.inspection.trace.picture import trace_picture

        return trace_picture(self.classifier(), self._picture(image), layer, at)

    def trace_gradient(
        self,
        image: Any,
        layer: str | None = None,
        at: Sequence[int] | None = None,
        *,
        target: str | int | None = None,
    ) -> "GradientTrace":
        """Which terms make up dL/dw of one weight, L the cross entropy of one class for one picture.

        Args:
            image: one picture, as `predict` takes it.
            layer: a layer, whose weight is meant, or the name of a parameter.
            at: which weight; by default the one with the largest gradient.
            target: name or number of the class; by default the predicted one.

        Raises:
            InputError: no picture or several, no such parameter, weight or class.
        """
        from convlens.inspection.trace.picture import trace_picture_gradient

        return trace_picture_gradient(self.classifier(), self._picture(image), layer, at, target=target)

    def _picture(self, image: Any) -> Any:
        """The one picture that was handed over, as `Preprocess.prepare` takes it."""
        several, items = pictures(image, self.classifier().preprocess.channels, self._note)
        if several:
            raise InputError("one picture is traced at a time: hand over a single one")
        found = next(items).picture
        if isinstance(found, InputError):
            raise found
        return found

    def explain(
        self,
        images: Any = None,
        what: str | Sequence[str] = "all",
        *,
        target: str | Sequence[str] | None = None,
        against: str | None = None,
        layer: str | None = None,
        channels: Sequence[int] = (),
        count: int | None = None,
        data: Any = None,
        seed: int = 0,
        out: Path | str | None = None,
        quiet: bool = False,
    ) -> "Explanations":
        """Why a class was chosen, or what the network looks for, as numbers and pictures.

        Args:
            images: what `predict` takes; None for methods that explain the network alone.
            what: names of methods (`inspection.explain.METHODS`); "all" for every attribution.
            target: the class to explain, or one for each picture; by default the one predicted.
            against: explain the difference to this class.
            layer, channels, count: what the method looks at, by default its own choice; see `Options`.
            data: where methods that search a data set look; by default the run's own test part.
            seed: of the random weights of the check, and of whatever else is drawn.
            out: a folder to write the pictures to; None writes nothing (see `Explanations.save`).

        Raises:
            InputError: a picture that cannot be read, an unknown method, class or layer, a missing library.
        """
        from convlens.deploy.looking import look
        from convlens.inspection.explain import Options

        chosen = target if target is None or isinstance(target, str) else tuple(target)
        options = Options(chosen, against, layer, tuple(channels), count, seed, quiet)
        names = [what] if isinstance(what, str) else what
        found = look(
            self.classifier(), self.path.name, images, names, options, record=self.record, data=data, on_note=self._note
        )
        if out is not None:
            found.save(out)
        return found

    def report(self, *, language: str = "en", examine: bool = False, data: Any = None, quiet: bool = True) -> Path:
        """Writes `report.html` again and gives its path.

        Args:
            language: "en" or "zh" (Chinese).
            examine: look at all images of the run again, for labels that are likely to be wrong (needs
                `convlens[explain]`) and for test images that look like images of the training. What was found stays
                in the run folder, the whole list of labels as `label_errors.csv`.
            data: the run's images, only where it cannot say itself where they are, as of arrays.
            quiet: no progress on stderr.

        Raises:
            InputError: no such language; the run is not finished; its images are not there, or no longer the same.
        """
        if examine:
            self._examine(data, quiet)
        return report.write(self.path, language)

    def _examine(self, data: Any, quiet: bool) -> None:
        require_cleanlab()
        _ = self.results
        classifier = self.classifier()
        splits = own_parts(classifier.preprocess, self.record, data, whole=True)
        evaluation = classifier.evaluate(splits.test)
        report.save_evaluation(self.path, evaluation, splits.test)
        subject = Subject(classifier, splits, evaluation, self.record.batch_size)
        with bars(quiet, unit="images") as progress:
            examine(self.path, subject, deep=True, on_progress=progress)

    def _note(self, note: str) -> None:
        """Says it on stderr, once."""
        if note not in self._noted:
            self._noted.add(note)
            say(note)


def train(model: str | nn.Module | None = None, data: Any = None, **options: Unpack[TrainOptions]) -> Run:
    """Trains a network, judges it once on its test set, writes the report.

        Args:
            model: a zoo name (`lenet5` by default), "path/to/file.py:Function", or an `nn.Module` that gives logits.
            data: a name (`digits` by default), a folder, zip or tar of images in class folders, `Images`, a pair
                (pixels uint8 [N, H, W] or [N, H, W, C], labels), a dataset of (picture, label) such as PyTorch's, or a
                mapping of "train", "val", "test" to those.
            options: those of `convlens train`, by the same names; each None by default, which means not given.
    {options}

        Raises:
            InputError: anything that the caller can mend.
            DivergedError: the loss became infinite or not a number; the last good weights are kept.
            Interrupted: SIGINT or SIGTERM; the state was saved and `resume` goes on.
    """
    handed_over = model if isinstance(model, nn.Module) or (isinstance(model, str) and ".py:" in model) else None
    device, request = options.get("device"), Request(model, data, **options)
    if (request.options["processes"] or 1) > 1 and not launched.launched():
        return Run(launch.train(request.model, data, request.options), model=handed_over, device=device)
    finished = job.train(request)
    if isinstance(finished, Finished) and launched.launched_rank() == 0:
        _report(finished)
    folder = finished.folder if isinstance(finished, Finished) else finished
    return Run(folder.path, model=handed_over, device=device)


def _report(finished: Finished) -> None:
    """Writes the report of a run that was just trained, and what it is made of."""
    record, path = finished.record, finished.folder.path
    report.save_evaluation(path, finished.evaluation, finished.splits.test)
    classifier = Classifier(finished.module, Preprocess.from_dict(record.preprocess), tuple(record.classes))
    subject = Subject(classifier, finished.splits, finished.evaluation, record.batch_size)
    examine(path, subject, deep=False, own_object=record.model.source == "live")
    report.write(path)


train.__doc__ = (train.__doc__ or "").replace("{options}", textwrap.indent(described(), " " * 12))
train.__signature__ = python_signature()  # type: ignore[attr-defined] - for help() and completion


def train_seeds(count: int, *, seed: int | None = None, out: Path | str | None = None, **arguments: Any) -> list[Run]:
    """`train` with `count` seeds from `seed` on, each in a folder `seed-<n>` of `out`. See `spread`."""
    if count < 1:
        raise InputError(f"--seeds {count}: must be at least 1")
    first = seed or 0
    base = Path(out) if out is not None else fresh_path(arguments.get("model"), arguments.get("data"))
    return [train(seed=s, out=base / f"seed-{s}", **arguments) for s in range(first, first + count)]


def spread(runs: Sequence[Run]) -> dict[str, float]:
    """Mean, sample standard deviation, minimum and maximum of the test accuracies of several runs."""
    found = [run.results["test"]["accuracy"] for run in runs]
    deviation = statistics.stdev(found) if len(found) > 1 else 0.0
    return {"mean": statistics.fmean(found), "std": deviation, "min": min(found), "max": max(found)}


def load(run: Path | str, *, model: str | nn.Module | None = None, device: str | None = None) -> Run:
    """A run from its folder.

    Args:
        model: only for networks that are not of the zoo: the module, or "file.py:Function".
        device: what it predicts and is judged on: "auto", "cpu", "cuda" or "mps". By default the device that it was
            trained on; where that is not here, the best that is, and a line on stderr says so.
    """
    return Run(run, model=model, device=device)


__all__ = [
    "Classifier",
    "Evaluation",
    "Images",
    "Prediction",
    "Preprocess",
    "Run",
    "load",
    "spread",
    "train",
    "train_seeds",
]
