"""What looking at the layers costs a run: training with it and without, in turn; the ratio of training times.

python bench/within.py [--data mnist] [--rounds 5] [NETWORK...]
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import convlens as cl
from convlens.training.callbacks.layers import Layers


def trained(network: str, data: str, epochs: int, out: Path, *, looking: bool) -> float:
    """Seconds of training."""
    looked_at = Layers._is_looked_at
    if not looking:
        Layers._is_looked_at = lambda *_: False  # type: ignore[method-assign]
    try:
        run = cl.train(network, data, epochs=epochs, quiet=True, tensorboard=False, out=out)
    finally:
        Layers._is_looked_at = looked_at  # type: ignore[method-assign]
    assert run.results is not None
    return float(run.results["seconds"]["train"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=["lenet5", "mlp"])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for network in args.networks:
        ratios = []
        for _ in range(args.rounds):
            with tempfile.TemporaryDirectory() as folder:
                plain = trained(network, args.data, args.epochs, Path(folder) / "plain", looking=False)
                seen = trained(network, args.data, args.epochs, Path(folder) / "seen", looking=True)
                ratios.append(seen / plain)
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        print(f"{network} on {args.data}, {args.epochs} epochs: {statistics.median(ratios):.3f} ({spread})")


if __name__ == "__main__":
    main()
