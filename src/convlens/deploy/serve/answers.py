"""The shapes of answers, for the OpenAPI description; `row` makes the JSON that they describe."""

from typing import Any

from pydantic import BaseModel, Field

from convlens.base.errors import InputError
from convlens.classify.classifier import Prediction


class Ranked(BaseModel):
    """A class and its probability, 0 to 1."""

    label: str
    probability: float


class Answered(BaseModel):
    """What a picture is; or, in a request of several, why it could not be read."""

    name: str = Field(description="The name of the file, or the number of the image in the request.")
    label: str | None = None
    probability: float | None = None
    top: list[Ranked] | None = None
    error: str | None = None


class Answers(BaseModel):
    """One answer for each image, in the order of the request."""

    predictions: list[Answered]
    failed: int = Field(description="How many of the images could not be read.")


class Problem(BaseModel):
    """What was wrong."""

    status: int
    message: str
    id: str = Field(description="Of the request: the service's log has it.")


class Failed(BaseModel):
    """Every answer that is no success."""

    error: Problem


def row(name: str, result: Prediction | InputError) -> dict[str, Any]:
    """An `Answered`, as JSON has it."""
    if isinstance(result, InputError):
        return {"name": name, "error": " ".join(str(result).split())}
    return {"name": name, **result.to_dict()}


_IMAGE = {"type": "string", "format": "binary"}
_BASE64 = {"type": "string", "format": "byte", "contentEncoding": "base64"}

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image as it is (the fastest), a form with one or many files, or JSON with base64.",
        "content": {
            "application/octet-stream": {"schema": _IMAGE},
            "image/*": {"schema": _IMAGE},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "array", "items": _IMAGE}}}
            },
            "application/json": {
                "schema": {
                    "oneOf": [
                        {
                            "type": "object",
                            "properties": {"image": _BASE64},
                            "required": ["image"],
                            "additionalProperties": False,
                        },
                        {
                            "type": "object",
                            "properties": {"images": {"type": "array", "items": _BASE64, "minItems": 1}},
                            "required": ["images"],
                            "additionalProperties": False,
                        },
                    ]
                }
            },
        },
    }
}

_NUMBER = {"type": "integer", "minimum": 1, "maximum": 10_000}
TOP = {"name": "top", "in": "query", "description": "How many classes to rank.", "schema": _NUMBER}
CLASS = {"name": "class", "in": "query", "description": "The class to explain; by default the likeliest.",
         "schema": {"type": "string"}}  # fmt: skip
PNG = {"content": {"image/png": {}}, "description": "The image, and over it what spoke for the class."}
