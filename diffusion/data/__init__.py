"""Data sets: a name or a folder becomes labelled images, which `split` divides.

Known names: ``digits``, ``fashion-mnist`` (at 16 pixels). Anything that looks like a path is read as a folder of class
folders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from diffusion.data.images import LabelledImages, Reference
from diffusion.data.partition import Split, images_per_class_min, split
from diffusion.errors import DatasetError
from diffusion.progress import Report, silent

__all__ = ["DATASETS", "LabelledImages", "Reference", "Split", "load_dataset", "split"]

#: Data sets known by name.
DATASETS: Final = ("digits", "fashion-mnist")


def load_dataset(name: str, *, shards: int, report: Report = silent) -> LabelledImages:
    """The images of a known data set, or of a folder.

    Raises:
        DatasetError: the name is unknown, or the folder is no data set (see `diffusion.data.folder`).
    """
    if name == "digits":
        from diffusion.data.digits import load_digits

        return load_digits()
    if name == "fashion-mnist":
        from diffusion.data.fashion import load_fashion

        return load_fashion()
    path = Path(name)
    if not path.exists() and "/" not in name:
        raise DatasetError(
            f"there is no data set {name!r}",
            hint=f"Known are {', '.join(DATASETS)}; or name a folder with one sub-folder of images per class.",
        )
    from diffusion.data.folder import load_folder

    return load_folder(path, images_per_class_min=images_per_class_min(shards), report=report)
