"""Sixty-four real images, of each kind once."""

import gzip
import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from typed import present


@pytest.fixture(scope="session")
def mnist64(real_data):
    """(x, y): the first 64 training digits, float32 (64, 1, 28, 28) with mean 0 and deviation 1, labels int64."""
    with gzip.open(real_data / "mnist" / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 64 * 784), np.uint8)[16:].reshape(64, 1, 28, 28)
    with gzip.open(real_data / "mnist" / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + 64), np.uint8)[8:]
    return _standard(pixels), torch.from_numpy(labels.astype(np.int64))


@pytest.fixture(scope="session")
def cifar64(real_data):
    """(x, y): the first six or seven test images of each class, float32 (64, 3, 32, 32), labels int64."""
    images, labels, classes = [], [], []
    with tarfile.open(real_data / "cifar10-jpeg.tar.gz", "r|gz") as archive:
        for member in archive:
            _, part, name, file = member.name.split("/")
            if name not in classes:
                classes.append(name)
            quota = 7 if len(classes) <= 4 else 6
            if part == "test" and int(file.removesuffix(".jpg")) < quota:
                image = Image.open(io.BytesIO(present(archive.extractfile(member)).read()))
                images.append(np.asarray(image).transpose(2, 0, 1))
                labels.append(len(classes) - 1)
            if len(images) == 64:
                break
    return _standard(np.stack(images)), torch.tensor(labels)


def _standard(pixels: np.ndarray) -> torch.Tensor:
    x = torch.from_numpy(pixels.astype(np.float32))
    return (x - x.mean()) / x.std()
