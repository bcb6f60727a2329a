"""What can go wrong around a node process, and whose fault it is.

::

    UsageError
    ├── HomeInUse         another process runs this home directory
    └── ExtraMissing      the command needs an optional part that is not installed
    PdfedError
    └── JobError          a worker process did not do a job; says nothing about the weights it was given
        ├── JobRefused    the worker says the request was wrong
        ├── JobBroke      the worker says the job failed on this machine
        └── WorkerDied    the worker ended, or answered something that is no answer; the next job starts a new one

`JobError` is deliberately no `InputError`: whoever asks for a score must not take a broken worker for a verdict on
what somebody else submitted.
"""

from __future__ import annotations

from pdfedchain.errors import PdfedError, UsageError

__all__ = ["ExtraMissing", "HomeInUse", "JobBroke", "JobError", "JobRefused", "WorkerDied"]


class HomeInUse(UsageError):
    """Two processes must not run one home: both would sign with its key."""


class ExtraMissing(UsageError):
    """An optional dependency is not installed.

    Attributes:
        extra: name of the extra that brings it.
    """

    def __init__(self, what: str, extra: str, *, hint: str = "") -> None:
        super().__init__(f'{what} needs an optional part: pip install "pdfedchain[{extra}]"', hint=hint)
        self.extra = extra


class JobError(PdfedError):
    """A worker process did not do a job."""


class JobRefused(JobError):
    """The worker says that the request was wrong: a missing folder, an unknown data set."""


class JobBroke(JobError):
    """The worker says that the job failed on this machine: no memory, a full disk, a device error."""


class WorkerDied(JobError):
    """The worker process ended in mid-job, or sent what is no answer to the job.

    Attributes:
        exit_status: of the process; negative for a signal; ``None`` where it was running still.
    """

    def __init__(self, message: str, *, exit_status: int | None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_status = exit_status
