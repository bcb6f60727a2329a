"""The pytest plugin: fixtures that are there on install, and a light import."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLUGIN = "pdfedchain.testing.plugin"
pytest_plugins = ("pytester",)

TESTS = """
import pytest
from pdfedchain.testing import Links

def test_a_chain(chain):
    chain.submit(b"x")
    chain.produce()
    assert (chain.height, chain.waiting) == (1, ())

def test_networks(simnet):
    net = simnet(size=4, seed=7, links=Links(loss=0.1))
    net.submit(b"x", to=[0])
    assert net.run_to_height(2, limit_ms=60_000)
    assert simnet(size=1).run_to_height(1, limit_ms=60_000)

def test_stores_that_differ_are_an_error(simnet):
    net = simnet()
    net.run_to_height(1, limit_ms=60_000)
    net.nodes[2].store._values[b"count"] = b"9"
"""
TESTS_OF_OWN = """
def test_mine(chain, simnet):
    assert (chain.genesis.application, simnet().genesis.application) == ("mine", "mine")
"""
OWN_APPLICATION = """
import pytest
from pdfedchain.testing import CounterApplication

class Mine(CounterApplication):
    name = "mine"

@pytest.fixture
def chain_application():
    return Mine
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Somebody else's project with this source installed; the plugin is named, as it may not be registered yet."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return pytester


def test_the_fixtures_give_chains_and_networks(project: pytest.Pytester) -> None:
    project.makepyfile(TESTS)
    result = project.runpytest_subprocess("-p", PLUGIN)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*InvariantBroken: two stores hold different states of height 1"])


def test_the_application_can_be_ones_own(project: pytest.Pytester) -> None:
    project.makeconftest(OWN_APPLICATION)
    project.makepyfile(TESTS_OF_OWN)
    project.runpytest_subprocess("-p", PLUGIN).assert_outcomes(passed=1)


def test_the_guide_tells_the_truth(project: pytest.Pytester) -> None:
    guide = (ROOT / "docs" / "testing-consensus.md").read_text()
    project.makepyfile(guide.split("```python\n")[1].partition("```")[0])
    project.runpytest_subprocess("-p", PLUGIN).assert_outcomes(passed=2)


@pytest.mark.parametrize("arguments", [(), ("-p", PLUGIN)])
def test_pytest_loads_it_on_install_and_only_once(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    # Named as its module is, so that "-p" and the entry point are the same plugin to pytest.
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert entries == {PLUGIN: PLUGIN}
    installed = project.mkdir("installed-1.dist-info")
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[pytest11]\n{PLUGIN} = {PLUGIN}\n")
    project.makepyfile("def test_it(chain): assert chain.height == 0")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{project.path}")
    project.runpytest_subprocess(*arguments).assert_outcomes(passed=1)


def test_loading_it_loads_nothing_else() -> None:
    never = ("torch", "numpy", "libp2p", "trio", "hypothesis", "cryptography", "sqlite3", "msgpack")
    script = f"import sys, {PLUGIN}; print(*(name for name in {never!r} if name in sys.modules))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert output.stdout.strip() == ""
