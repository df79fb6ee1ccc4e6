"""The loop that everybody writes: LeNet on MNIST, float32, Adam, `DataLoader`. Knows nothing of Convlens.

    python plain_mnist.py FOLDER [--epochs N] [--seed N]

Prints a JSON object per epoch: seconds since the process started, and the accuracy on the test set.
"""

import time

BEGAN = time.perf_counter()

import argparse  # noqa: E402
import gzip  # noqa: E402
import json  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402


def read(folder: Path, part: str) -> TensorDataset:
    def array(kind: str, skip: int) -> np.ndarray:
        file = next(iter(sorted(folder.glob(f"{part}-{kind}-*"))))
        content = file.read_bytes()
        return np.frombuffer(gzip.decompress(content) if file.suffix == ".gz" else content, np.uint8, offset=skip)

    images = array("images", 16).reshape(-1, 1, 28, 28).astype(np.float32) / 255
    return TensorDataset(torch.from_numpy(images), torch.from_numpy(array("labels", 8).astype(np.int64)))


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    train, test = read(arguments.folder, "train"), read(arguments.folder, "t10k")
    module = lenet()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    loss_function = nn.CrossEntropyLoss()
    for epoch in range(1, arguments.epochs + 1):
        module.train()
        for images, labels in DataLoader(train, batch_size=128, shuffle=True):
            optimizer.zero_grad()
            loss_function(module(images), labels).backward()
            optimizer.step()
        module.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in DataLoader(test, batch_size=1000):
                correct += (module(images).argmax(1) == labels).sum().item()
        seconds = time.perf_counter() - BEGAN
        print(json.dumps({"epoch": epoch, "seconds": seconds, "accuracy": correct / len(test)}), flush=True)


if __name__ == "__main__":
    main()
