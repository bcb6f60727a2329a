"""Errors of the diffusion package.

::

    PdfedError
    ├── TrainingDiverged        the loss of a training is no longer a number
    └── InputError
        ├── CheckpointRefused   a checkpoint folder that must not be loaded; carries the on-chain reason
        ├── TensorFileError     bytes that are not a well-formed safetensors file within its bounds
        ├── UnsupportedModel    a model or scheduler configuration that this version does not implement
        └── UsageError
            └── DatasetError    a data set that is missing, damaged or too small

`CheckpointRefused` is the author's fault and a valid outcome of scoring; the others stop a job.
"""

from __future__ import annotations

from pdfedchain.errors import InputError, PdfedError, UsageError
from pdfedchain.types.score import UnscorableReason

__all__ = ["CheckpointRefused", "DatasetError", "TensorFileError", "TrainingDiverged", "UnsupportedModel"]


class CheckpointRefused(InputError):
    """A checkpoint cannot be loaded or scored.

    Attributes:
        reason: the first check that failed, in the order of `UnscorableReason`.
    """

    def __init__(self, reason: UnscorableReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TensorFileError(InputError):
    """Bytes are not a well-formed safetensors file, or exceed a bound."""


class UnsupportedModel(InputError):
    """A model or scheduler configuration asks for what this version does not implement."""


class DatasetError(UsageError):
    """A data set is missing, damaged or too small."""


class TrainingDiverged(PdfedError):
    """The loss of a training is no longer a number; no checkpoint was written."""
