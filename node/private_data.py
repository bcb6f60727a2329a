"""Binding private images without showing them.

A registration carries a commitment to the data a participant trains and votes on; the votes count only if the
commitment is older than the submission. A plain hash of the file would let anybody who has a guess of the data check
it, so the hash is salted, and the salt stays here.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

from pdfedchain.crypto import tagged_hash
from pdfedchain.errors import UsageError
from pdfedchain.ids import Hash

__all__ = ["IMAGES_FILE", "data_commitment"]

IMAGES_FILE: Final = "images.safetensors"
_SALT_SIZE_BYTES: Final = 32


def data_commitment(data: Path, salt_file: Path) -> Hash:
    """The commitment to the images in ``data``; the salt is made on first use.

    Raises:
        UsageError: there are no images.
    """
    images = data / IMAGES_FILE
    try:
        with images.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UsageError(
            f"no private images at {images}: {error.strerror}",
            hint="`pdfed genesis` installs a shard into a local home; else set [data] path in config.toml",
        ) from error
    if not salt_file.exists():
        descriptor = os.open(salt_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_SALT_SIZE_BYTES))
    return tagged_hash("pdfed/data-commitment/v1", salt_file.read_bytes(), digest)
