"""A process of its own that opens a network and answers once: `python -m convlens.deploy.bench.fresh PATH`.

Prints the seconds from the start of Python to the first answer, and the most memory that the process had in use. PATH
is a run folder, or an ONNX file, which is opened without PyTorch.
"""

import contextlib
import json
import sys
import time
from pathlib import Path


def main(path: Path, begun: float) -> None:
    import numpy as np

    from convlens.classify.classifier import Classifier

    classifier = Classifier.from_onnx(path) if path.is_file() else Classifier.from_run(path, device="cpu")
    preprocess = classifier.preprocess
    classifier.ranked(np.zeros((1, *preprocess.size, preprocess.channels), np.uint8))
    print(json.dumps({"seconds": time.time() - begun, "bytes": _most_memory()}))


def _most_memory() -> int | None:
    with contextlib.suppress(OSError, ValueError):  # Linux: the figure of getrusage is also the parent's
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
