"""The public names of the package: adding or removing one is a deliberate act."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pdfedchain
from tests.pdfedchain.api_page import MODULES, PAGE, listed, page, public_names, sentence

PUBLIC = [
    "Address",
    "Application",
    "AuthoritySet",
    "Block",
    "BlockBody",
    "BlockContext",
    "Chain",
    "ChainParameters",
    "Cid",
    "DecodeError",
    "Event",
    "Execution",
    "FinalBlock",
    "Genesis",
    "Hash",
    "Header",
    "InputError",
    "InvalidBlock",
    "InvalidProof",
    "InvalidTransaction",
    "Judgement",
    "Ledger",
    "LedgerView",
    "LightBundle",
    "LightClient",
    "LightError",
    "MemoryStore",
    "NotFound",
    "NotYet",
    "PdfedError",
    "Problem",
    "ProblemKind",
    "ProvenState",
    "ProvenValue",
    "Pruned",
    "SignatureError",
    "SigningKey",
    "SqliteStore",
    "StateError",
    "StateProof",
    "StateTree",
    "Store",
    "StoredEvent",
    "Subscription",
    "UsageError",
    "WouldDoubleSign",
    "canonical",
    "decode",
    "encode",
    "from_plain",
    "hash_of",
    "light_bundle",
    "single_genesis",
    "to_plain",
    "verify_bundle",
    "verify_chain",
]


def test_the_public_surface_is_what_it_should_be() -> None:
    assert sorted(pdfedchain.__all__) == sorted(PUBLIC)
    assert sorted(pdfedchain._HOME_OF) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(pdfedchain))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_at_home_where_it_says(name: str) -> None:
    value = getattr(pdfedchain, name)
    home = sys.modules[pdfedchain._HOME_OF[name]]
    assert getattr(home, name) is value


def test_the_page_of_the_api_lists_every_public_name() -> None:
    expected = {module: public_names(module) for module in MODULES}
    assert expected == listed(PAGE.read_text()), "run: python -m tests.pdfedchain.api_page"
    assert expected == listed(page())


@pytest.mark.parametrize("module", MODULES)
def test_every_public_class_and_function_is_described(module: str) -> None:
    assert len(public_names(module)) == len(set(public_names(module)))
    assert [name for name in public_names(module) if not sentence(module, name)] == []


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Blockchain'"):
        _ = pdfedchain.Blockchain


def test_importing_a_base_module_does_not_load_the_chain() -> None:
    script = "import sys, pdfedchain.errors, pdfedchain.codec; print(*(m for m in sys.modules if m in %r))"
    heavy = ("sqlite3", "cryptography", "pdfedchain.chain", "pdfedchain.state", "pdfedchain.crypto")
    output = subprocess.run([sys.executable, "-c", script % (heavy,)], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == ""
