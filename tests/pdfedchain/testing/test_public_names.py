"""The public names of `pdfedchain.testing`: adding or removing one is a deliberate act."""

from __future__ import annotations

import sys

import pytest

from pdfedchain import testing

PUBLIC = [
    "Actor",
    "CounterApplication",
    "Fuse",
    "HARMLESS",
    "InvariantBroken",
    "LIARS",
    "Links",
    "Network",
    "Node",
    "Observer",
    "Outcome",
    "PowerCutError",
    "START_MS",
    "Said",
    "Simulator",
    "Situation",
    "cids",
    "example_of",
    "hashes",
    "make_genesis",
    "make_keys",
    "run_chaos",
    "run_overload",
    "values_of",
]


def test_the_public_surface_is_what_it_should_be() -> None:
    assert sorted(testing.__all__) == sorted(PUBLIC)
    assert sorted(testing._HOME_OF) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(testing))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_at_home_where_it_says(name: str) -> None:
    value = getattr(testing, name)
    home = sys.modules[testing._HOME_OF[name]]
    assert getattr(home, name) is value


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Network2'"):
        _ = testing.Network2
