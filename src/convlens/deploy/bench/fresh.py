"""A process of its own that opens a network and answers once: `python -m convlens.deploy.bench.fresh PATH`.

Prints the seconds from the start of Python to the first answer, and the most memory that the process had in use. PATH
is a run folder, or an ONNX file, which is opened without PyTorch.
"""

import json
import sys
import time
from pathlib import Path


def main(path: Path, begun: float) -> None:
    import numpy as np

    from convlens.base.memory import most_memory
    from convlens.classify.classifier import Classifier

    classifier = Classifier.from_onnx(path) if path.is_file() else Classifier.from_run(path, device="cpu")
    preprocess = classifier.preprocess
    classifier.ranked(np.zeros((1, *preprocess.size, preprocess.channels), np.uint8))
    print(json.dumps({"seconds": time.time() - begun, "bytes": most_memory()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
