"""Feeds damaged files of every kind to whoever reads such files, in a process that may take little memory.

    python tests/fuzz/harness.py FOLDER [--count 20000] [--seed 0] [--only NAME] [--first 0]

Each input follows from seed, name and number alone: --only NAME --first NUMBER --count 1 shows a finding again.
Prints one JSON object: how many inputs, how they ended, the memory at its peak, and every traceback.
"""

import argparse
import json
import random
import resource
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

LIMIT = 2 << 30
"""Bytes of memory that the process may ask for."""

_SLOW = 5.0  # seconds of one input, to be looked at


def wrong_with(error: Exception) -> str | None:
    """What is wrong with an answer to bad input, if anything is."""
    from convlens.base.errors import ConvlensError

    if not isinstance(error, ConvlensError):
        return "".join(traceback.format_exception(error)[-6:])
    message = str(error)
    if not message or len(message) > 3000 or any(ord(character) < 32 or ord(character) == 127 for character in message):
        return f"not a line for a terminal: {message[:500]!r}"
    return None


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only")
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    import formats

    from convlens.base.memory import most_memory

    warnings.simplefilter("ignore")
    formats.clean(options.folder)
    known = [kind for kind in formats.all_formats(options.folder) if options.only in (None, kind.name)]
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    total = sum(kind.share for kind in known)
    answers: dict[str, Counter] = {}
    findings, slow = [], []
    for kind in known:
        answers[kind.name] = Counter()
        for number in range(options.first, options.first + max(1, round(options.count * kind.share / total))):
            rng = random.Random(f"{options.seed} {kind.name} {number}")
            content = kind.change(rng, rng.choice(kind.seeds))
            (options.folder / "current").write_text(f"{kind.name} {number}")  # to be read where the process dies
            started, wrong = time.monotonic(), None
            try:
                kind.read(content)
                answers[kind.name]["taken"] += 1
            except Exception as error:
                wrong = wrong_with(error)
                answers[kind.name]["refused"] += 1
            if wrong:
                findings.append({"format": kind.name, "number": number, "wrong": wrong})
            if time.monotonic() - started > _SLOW:
                slow.append((kind.name, number))
    peak = most_memory()
    inputs = sum(sum(counts.values()) for counts in answers.values())
    print(json.dumps({"inputs": inputs, "peak": peak, "slow": slow, "answers": answers, "findings": findings}))


if __name__ == "__main__":
    main()
