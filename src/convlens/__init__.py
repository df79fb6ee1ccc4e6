"""Convlens: convolutional networks that you can see through.

>>> import convlens as cl
>>> run = cl.train("lenet5", data="mnist")  # doctest: +SKIP
>>> run.predict("seven.png")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Classifier", "Run", "load", "train"]

if TYPE_CHECKING:
    from convlens.api import Classifier, Run, load, train


def __getattr__(name: str) -> Any:
    """The names above are imported when they are first used: a bare `import convlens` stays light."""
    if name == "Classifier":  # without PyTorch, which `Classifier.from_onnx` does without
        from convlens.classify.classifier import Classifier

        return Classifier
    if name in __all__:
        from convlens.base.threads import limited_spinning

        try:
            with limited_spinning():
                from convlens import api
        except ModuleNotFoundError as error:
            raise ImportError(f"convlens.{name} needs {error.name}: pip install 'convlens[train]'") from error
        return getattr(api, name)
    raise AttributeError(f"module 'convlens' has no attribute {name!r}")
