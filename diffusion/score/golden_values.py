"""What every machine computes in the self-test; written by ``python -m diffusion.score.golden --write``."""

from __future__ import annotations

from typing import Final

__all__ = ["IMAGES_HASH", "NOISE_TABLE", "REPORT", "SAMPLED_IMAGES", "VERSION"]

#: The scoring version whose values these are.
VERSION: Final = 1
NOISE_TABLE: Final = "7030c40868edff0a36b70d4a06ceacbf25ac02eb87069f34786f8258a1e9a44d"
SAMPLED_IMAGES: Final = "88e776b3c3f97d212d12781195f3cc3babe87fba924559edc2de02984c3a7b2f"
IMAGES_HASH: Final = "2e7dd941113e8cbff23263653acb8e89a5f1e42ddf5cb1d28007eafd22662833"
REPORT: Final = {
    "n": 90,
    "checked": 345,
    "confirmed": 67,
    "v_a_micro": 297141,
    "v_c_micro": 403396,
    "fid_micro": 2410999980,
}
