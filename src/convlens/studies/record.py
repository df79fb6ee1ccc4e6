"""What `study.json` says, and how a folder that is there already is looked at."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convlens import __version__
from convlens.base import files, strict_json
from convlens.base.errors import InputError
from convlens.studies.findings import Findings

FORMAT_VERSION = 1
FILE, PAGE = "study.json", "index.html"
_LARGEST = 64 << 20  # bytes of study.json


class Claim(BaseModel):
    """A claim, what came of it, and the figures that say so, in words."""

    key: str
    claim: str
    verdict: Literal["holds", "does not hold", "not run"]
    measured: str


class Record(BaseModel):
    """The content of `study.json`.

    setting, figures: by name. tables: title, columns, rows. pictures: files of the folder.
    finished: whether the study came to its end. quick: only a small share of the work was done.
    """

    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    study: str
    title: str
    sections: list[str]
    claim: str
    verdict: Literal["holds", "does not hold", "not run"]
    claims: list[Claim]
    measures: str
    finished: bool
    quick: bool
    seed: int
    options: dict[str, Any]
    setting: dict[str, Any]
    figures: dict[str, Any]
    tables: list[dict[str, Any]]
    pictures: list[str] = Field(max_length=10_000)
    notes: list[str]
    seconds: float
    version: str


def record_of(findings: Findings, *, finished: bool, seconds: float) -> Record:
    """What there is so far."""
    study = findings.study
    claims = [
        Claim(
            key=key,
            claim=claim,
            verdict=findings.verdict(key),  # type: ignore[arg-type]
            measured=findings.verdicts.get(key, (False, findings.missing.get(key, "")))[1],
        )
        for key, claim in study.claims.items()
    ]
    return Record(
        study=study.name,
        title=study.title,
        sections=study.sections,
        claim=study.claim,
        verdict=findings.overall,  # type: ignore[arg-type]
        claims=claims,
        measures=study.measures,
        finished=finished,
        quick=findings.quick,
        seed=findings.seed,
        options=plain(findings.options.model_dump(mode="json")),
        setting=plain(findings.setting),
        figures=plain(findings.figures),
        tables=[plain(vars(table)) for table in findings.tables],
        pictures=[shown.file for shown in findings.shown],
        notes=findings.notes,
        seconds=round(seconds, 3),
        version=__version__,
    )


def plain(value: Any) -> Any:
    """Numbers of NumPy as Python's, arrays as lists, what is not finite as None: what JSON can say."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def earlier(folder: Path) -> Record | None:
    """The study that lies in a folder, or None where nothing does.

    Raises:
        InputError: the folder holds other things, or the file is none of ours.
    """
    path = folder / FILE
    if not path.exists():
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--out {folder} is a file; choose a folder")
        if folder.is_dir() and any(not one.name.startswith(".") for one in folder.iterdir()):
            raise InputError(f"--out {folder} is a folder with other things in it; choose a new or an empty one")
        return None
    try:
        return Record.model_validate(strict_json.loads(files.read_text(path, _LARGEST), str(path)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path} is no study of ours: {where}: {first['msg']}; choose another --out") from None
