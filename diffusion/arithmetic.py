"""The arithmetic of scores: no TF32, no half precision, no convolution algorithm chosen by a race.

torch multiplies float32 matrices in TF32 on some GPUs and lets convolutions do so by default; a caller may have asked
for more of that, or may be inside an autocast region. `exact_arithmetic` turns all of it off while a score is computed
and puts back what was there, so that importing this package changes nobody's settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch

__all__ = ["arithmetic_in_force", "exact_arithmetic"]

#: Precision of float32 work as IEEE 754 has it, in torch's words.
_IEEE: Final = "ieee"
#: Devices whose autocast is turned off.
_AUTOCAST: Final = ("cpu", "cuda")


def _switches() -> list[tuple[Any, str, object]]:
    """Owner, attribute and value of every setting that costs digits or repeatability."""
    backends: Any = torch.backends
    switches: list[tuple[Any, str, object]] = [
        (backends.cudnn, "benchmark", False),
        (backends.cudnn, "deterministic", True),
    ]
    if hasattr(backends, "fp32_precision"):  # torch 2.9 and later; there the older switches may not be mixed in
        operators = (
            backends.cuda.matmul,
            backends.cudnn.conv,
            backends.cudnn.rnn,
            backends.mkldnn.matmul,
            backends.mkldnn.conv,
            backends.mkldnn.rnn,
        )
        return switches + [(operator, "fp32_precision", _IEEE) for operator in operators]
    return [
        *switches,
        (backends.cuda.matmul, "allow_tf32", False),
        (backends.cudnn, "allow_tf32", False),
    ]


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Float32 and float64 as they are written, for the time of the block."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in _switches()]
    with ExitStack() as stack:
        for device in _AUTOCAST:
            stack.enter_context(torch.autocast(device, enabled=False))
        try:
            for owner, name, value in _switches():
                setattr(owner, name, value)
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)


def arithmetic_in_force() -> bool:
    """Whether every setting is as `exact_arithmetic` makes it."""
    exact = all(getattr(owner, name) == value for owner, name, value in _switches())
    return exact and not any(torch.is_autocast_enabled(device) for device in _AUTOCAST)
