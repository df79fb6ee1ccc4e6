"""How the processes of one start know each other from those of an earlier one.

torchrun keeps its store of keys when it starts the processes again, and counts its restarts on each machine by itself:
what lost processes left there must not be taken for what the present ones say. So process 0 makes up a word, and tells
it to each process that is there now.
"""

import secrets
import time
from typing import Any

from convlens.base.errors import InputError

_OFTEN = 0.02  # seconds between two looks


def common_word(store: Any, rank: int, size: int, deadline: float) -> str:
    """A word that only the processes of this start know. store: of `torch.distributed`, any number of starts old.

    Raises `InputError` where some have not come within so many seconds: process 0 names them.
    """
    own = secrets.token_hex(8)
    return _tell(store, own, size, deadline) if rank == 0 else _ask(store, own, rank, deadline)


def _tell(store: Any, word: str, size: int, deadline: float) -> str:
    """Process 0 answers each question, the latest of each process, until each has said the word back."""
    missing, end, answered = list(range(1, size)), time.monotonic() + deadline, {}
    while missing:
        for rank in missing:
            question = _read(store, f"question/{rank}")
            if question is not None and answered.get(rank) != question:
                store.set(f"answer/{rank}", f"{question} {word}")
                answered[rank] = question
        missing = [rank for rank in missing if _read(store, f"heard/{rank}") != word]
        if missing and time.monotonic() > end:
            many = "es" if len(missing) > 1 else ""
            raise InputError(
                f"process{many} {' and '.join(map(str, missing))} of {size} did not come within {deadline:g} s"
            )
        time.sleep(_OFTEN if missing else 0)
    return word


def _ask(store: Any, question: str, rank: int, deadline: float) -> str:
    end = time.monotonic() + deadline
    store.set(f"question/{rank}", question)
    while time.monotonic() < end:
        said, _, word = (_read(store, f"answer/{rank}") or "").partition(" ")
        if said == question:
            store.set(f"heard/{rank}", word)
            return word
        time.sleep(_OFTEN)
    raise InputError(f"process 0 did not come within {deadline:g} s")


def _read(store: Any, key: str) -> str | None:
    return store.get(key).decode() if store.check([key]) else None
