"""Which package may import what: the layers of the design, held by reading every import there is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STANDARD = frozenset(sys.stdlib_module_names)

#: Layers of pdfedchain: a module may import modules of lower rank, and of its own layer's package.
LAYERS = {
    "errors": 0,
    "limits": 0,
    "ids": 1,
    "codec": 2,
    "crypto": 3,
    "types": 4,
    "application": 5,
    "state": 6,
    "consensus": 6,
    "store": 6,
    "light": 6,
    "audit": 7,
    "proving": 7,
    "snapshot": 7,
    "chain": 8,
    "testing": 9,
}
#: Imported by one file, which another environment's interpreter runs.
ETHEREUM = ("eth_account", "eth_tester")
#: The network library and what it brings.
LIBP2P = ("libp2p", "multiaddr", "google", "zeroconf", "ifaddr")
#: What a package may import from outside, beside the standard library and itself.
OUTSIDE = {
    "pdfedchain": {"cryptography", "msgpack"},
    "diffusion": {"torch", "diffusers", "safetensors", "numpy", "PIL", "sklearn", "transformers", "pdfedchain"},
    "node": {"trio", *LIBP2P, "rich", "tomli_w", "cryptography", "pdfedchain", *ETHEREUM},
}
#: What diffusion may know of the chain: its base layers. Hashes with a domain tag are one of them.
BASE_FOR_DIFFUSION = {"errors", "ids", "limits", "codec", "crypto", "types"}
#: The one folder that may import the network library and what it brings, and the file that measures it as it comes.
NETWORK = ("node/host/", "node/benches/stock.py")
ONLY_IN = {
    **dict.fromkeys(LIBP2P, NETWORK),
    **dict.fromkeys(ETHEREUM, ("node/benches/eth_tester_transfers.py",)),
}


def modules(package: str) -> Iterator[Path]:
    yield from sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a file imports, wherever in it, also for type checking."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT / "pdfedchain").parts[0].removesuffix(".py")


@pytest.mark.parametrize("package", list(OUTSIDE))
def test_packages_import_only_what_they_may(package: str) -> None:
    offenders = []
    for path in modules(package):
        for line, name in imports(path):
            top = name.partition(".")[0]
            testing = path.is_relative_to(ROOT / "pdfedchain" / "testing") and top in ("hypothesis", "pytest")
            if top not in STANDARD and top != package and top not in OUTSIDE[package] and not testing:
                offenders.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert offenders == []


def test_the_layers_of_the_chain_import_downwards_only() -> None:
    offenders = []
    for path in modules("pdfedchain"):
        layer = layer_of(path)
        if layer == "__init__":
            continue
        for line, name in imports(path):
            parts = name.split(".")
            if parts[0] != "pdfedchain" or len(parts) < 2 or parts[1] == layer or parts[1] not in LAYERS:
                continue
            if LAYERS[parts[1]] >= LAYERS[layer]:
                offenders.append(f"{path.relative_to(ROOT)}:{line}: {layer} imports {parts[1]}")
    assert offenders == []


def test_every_module_of_the_chain_has_a_layer() -> None:
    found = {layer_of(path) for path in modules("pdfedchain")} - {"__init__"}
    assert found - LAYERS.keys() == set()


def test_diffusion_knows_only_the_base_layers_of_the_chain() -> None:
    offenders = []
    for path in modules("diffusion"):
        for line, name in imports(path):
            parts = name.split(".")
            if parts[0] == "pdfedchain" and len(parts) > 1 and parts[1] not in BASE_FOR_DIFFUSION:
                offenders.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert offenders == []


def test_the_network_library_is_imported_by_the_host_only() -> None:
    offenders = []
    for path in modules("node"):
        for line, name in imports(path):
            allowed = ONLY_IN.get(name.partition(".")[0])
            if allowed is not None and not str(path.relative_to(ROOT)).startswith(allowed):
                offenders.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert offenders == []


@pytest.mark.parametrize(
    ("statement", "never"),
    [
        ("import pdfedchain, pdfedchain.chain, pdfedchain.audit", ("torch", "numpy", "libp2p", "trio", "hypothesis")),
        ("import diffusion", ("torch", "numpy", "diffusers", "libp2p", "trio")),
        ("import node, node.__main__", ("torch", "numpy", "diffusion", "libp2p", "trio")),
    ],
)
def test_importing_a_package_loads_nothing_heavy(statement: str, never: tuple[str, ...]) -> None:
    script = f"import sys; {statement}; print(*(name for name in {never!r} if name in sys.modules))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert output.stdout.strip() == ""


def test_importing_starts_no_thread_and_sets_up_no_logging() -> None:
    script = (
        "import logging, threading, pdfedchain.chain, pdfedchain.audit, node.__main__, diffusion;"
        "print(threading.active_count(), logging.getLogger().handlers)"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert output.stdout.split() == ["1", "[]"]
