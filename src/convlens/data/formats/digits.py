"""`digits`: the 1,797 handwritten digits that come with scikit-learn. Nothing to download."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from convlens.base.errors import InputError
from convlens.data.images import Images


def load() -> Images:
    """8x8 gray images of ten digits, values 0..16 scaled to 0..255.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998 (its test part). The file is read from scikit-learn's folder: importing the library
    for it would take longer than everything else here.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise InputError("digits: scikit-learn is not installed; pip install scikit-learn")
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        text = gzip.decompress(path.read_bytes())
        table = np.array(text.replace(b"\n", b",").rstrip(b",").split(b","), dtype="S3").astype(np.int64)
        table = table.reshape(-1, 65)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"digits: cannot read {path} ({error}); reinstall scikit-learn") from error
    # 16 levels become 255 gray values: round(v * 255 / 16), exactly, in integers
    pixels = ((table[:, :64] * 510 + 16) // 32).astype(np.uint8).reshape(-1, 8, 8, 1)
    return Images(pixels, table[:, 64], tuple("0123456789"), "digits")
