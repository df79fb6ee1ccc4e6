"""What a study finds: figures, tables, pictures and verdicts, kept as they come, so that an interruption loses none."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from convlens.base import files
from convlens.base.errors import InputError, nearest
from convlens.base.progress import bar, say
from convlens.studies.registry import Options, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from convlens.studies.trials import Trained, Trial

Item = TypeVar("Item")
HOLDS, FAILS, NOT_RUN = "holds", "does not hold", "not run"


@dataclass(frozen=True)
class Table:
    """columns: the heads. rows: as many cells each; numbers are shown with three digits, texts as they are."""

    title: str
    columns: list[str]
    rows: list[list[Any]]
    about: str = ""


@dataclass(frozen=True)
class Shown:
    """A file in the study's folder that its page shows (a picture) or links to (a page)."""

    file: str
    caption: str


@dataclass
class Findings:
    """Handed to a study: what was asked for, and where it puts what it finds.

    Attributes:
        folder: where files go. quick: a small share of the work is wanted. seed: of whatever is drawn.
        options: what `--set` changed; of the study's own class of options.
        setting, figures: by name, in the order in which they came.
        verdicts: by the key of the claim: (holds or not, what was measured in words).
    """

    study: Study
    folder: Path
    quick: bool = False
    seed: int = 0
    options: Any = field(default_factory=Options)
    quiet: bool = True
    setting: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    verdicts: dict[str, tuple[bool, str]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    # ---- what a study calls

    def set(self, **values: Any) -> None:
        """Settings of the experiment, by name: what a reader must know to repeat it."""
        self.setting |= {name.replace("_", " "): value for name, value in values.items()}

    def figure(self, name: str, value: Any) -> None:
        """A measured number, or a list of them."""
        self.figures[name] = value

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], about: str = "") -> None:
        """A table of results; it replaces an earlier one of the same title."""
        table = Table(title, list(columns), [list(row) for row in rows], about)
        self.tables = [one for one in self.tables if one.title != title] + [table]

    def picture(self, name: str, drawn: "Figure | np.ndarray", caption: str) -> Path:
        """A figure of matplotlib, or pixels uint8 [H, W, C], as `name`.png."""
        from convlens.inspection import pictures, style

        content = pictures.png(drawn) if isinstance(drawn, np.ndarray) else style.png(drawn)
        return self.file(f"{name}.png", content, caption)

    def file(self, name: str, content: bytes | str, caption: str) -> Path:
        """A file of any other kind: a picture that moves, or a page, which the study's page links to."""
        path = self.folder / name
        files.write_bytes(path, content.encode() if isinstance(content, str) else content)
        self.shown = [one for one in self.shown if one.file != name] + [Shown(name, caption)]
        return path

    def judge(self, claim: str, holds: bool, measured: str) -> None:
        """Says whether a claim holds. measured: the figures that say so, in words."""
        self.verdicts[self._known(claim)] = (bool(holds), measured)

    def leave_out(self, claim: str, why: str) -> None:
        """Says why a claim was not looked into."""
        self.missing[self._known(claim)] = why

    def say(self, line: str) -> None:
        """Something that a reader must know: on stderr now, and on the page."""
        self.notes.append(line)
        say(line, quiet=self.quiet)

    def steps(self, title: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with a progress bar."""
        items = list(items)
        with bar(title, len(items), self.quiet) as advance:
            for item in items:
                yield item
                advance(1)

    def counted(self, title: str, total: int) -> Any:
        """A progress bar for work that counts itself: `with findings.counted(...) as advance: advance(1)`."""
        return bar(title, total, self.quiet)

    def train(self, trials: "Sequence[Trial]") -> "Iterator[tuple[Trial, Trained]]":
        """Trains each in the study's folder, or reads it where it was trained already. See `trials.train`."""
        from convlens.studies.trials import train

        return train(self, trials)

    # ---- what is made of it

    def verdict(self, claim: str) -> str:
        """ "holds", "does not hold" or "not run"."""
        return NOT_RUN if claim not in self.verdicts else HOLDS if self.verdicts[claim][0] else FAILS

    @property
    def overall(self) -> str:
        """Of all claims: does not hold if one fails, else not run if one was not looked into, else holds."""
        each = [self.verdict(claim) for claim in self.study.claims]
        return next((verdict for verdict in (FAILS, NOT_RUN) if verdict in each), HOLDS)

    def _known(self, claim: str) -> str:
        if claim not in self.study.claims:
            raise InputError(f"study {self.study.name!r} has no claim {claim!r}{nearest(claim, self.study.claims)}")
        return claim


Function = Callable[[Findings], None]
