"""A pytest plugin, loaded wherever pdfedchain is installed: a chain and simulated networks as fixtures.

::

    def test_my_rule(chain):                      # a Chain of one authority, chain time set
        chain.submit(b"a transaction")
        chain.produce()
        assert chain.height == 1

    def test_my_rule_on_a_bad_network(simnet):    # makes started Simulators
        net = simnet(size=4, seed=7, links=Links(loss=0.2))
        assert net.run_to_height(5, limit_ms=60_000)

Both run the application that the fixture ``chain_application`` makes; override it in a ``conftest.py`` to test your
own::

    @pytest.fixture
    def chain_application():
        return MyApplication                      # called once per node

After a test every simulator's stores must agree, byte by byte. Importing this module loads nothing but pytest:
the rest comes with the first use of a fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pdfedchain.application import Application
    from pdfedchain.chain import Chain
    from pdfedchain.testing.simulator import Simulator

__all__ = ["chain", "chain_application", "simnet"]


@pytest.fixture
def chain_application() -> Callable[[], Application]:
    """Makes the application of `chain` and `simnet`, once per node; by default one that counts transactions."""
    from pdfedchain.testing.counter import CounterApplication

    return CounterApplication


@pytest.fixture
def chain(chain_application: Callable[[], Application]) -> Chain:
    """An empty `pdfedchain.chain.Chain` of one authority, in memory, that begins at a fixed time."""
    from pdfedchain.chain import Chain, single_genesis
    from pdfedchain.testing.nodes import START_MS, make_keys

    (key,) = make_keys(1)
    application = chain_application()
    return Chain.create(single_genesis(application, key, time_ms=START_MS), key, application=application)


@pytest.fixture
def simnet(chain_application: Callable[[], Application]) -> Iterator[Callable[..., Simulator]]:
    """Makes started simulators: ``simnet(size=4, seed=0, **options of Simulator)``."""
    from pdfedchain.testing.nodes import make_genesis, make_keys
    from pdfedchain.testing.simulator import Simulator
    from pdfedchain.types.genesis import ChainParameters

    made: list[Simulator] = []

    def make(*, size: int = 4, seed: int = 0, **options: Any) -> Simulator:
        if "application" not in options and "genesis" not in options:
            application = chain_application()
            genesis = make_genesis(make_keys(size), options.pop("parameters", None) or ChainParameters())
            options["genesis"] = replace(genesis, application=application.name, version=application.version)
            options["application"] = lambda index: chain_application()
        simulator = Simulator(seed=seed, size=size, **options)
        made.append(simulator)
        simulator.start()
        return simulator

    yield make
    for simulator in made:
        simulator.observer.ended(node.store for node in simulator.honest)
