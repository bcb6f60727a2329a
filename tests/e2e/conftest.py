"""One genesis per session; every test gets copies of its homes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.network import Network, template

#: Three train, all four are authorities, the last only evaluates: the shape of `pdfed testnet`.
ROLES = ("authority,trainer", "authority,trainer", "authority,trainer", "authority,evaluator")


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Homes of four nodes with deadlines that a test can wait for."""
    directory = tmp_path_factory.mktemp("template") / "net"
    return template(directory, ROLES, genesis_options=["--scoring", "8/75", "--have", "5/30"])


@pytest.fixture
def network(homes: Path, tmp_path: Path) -> Iterator[Callable[..., Network]]:
    """Makes a network over copies of the homes.

    Roles may be changed (`roles=`): a test that needs one trainer does not pay for three. Training is cut to ``steps``,
    which yields a poor model that is scored and settled like any other.
    """
    with ExitStack() as stack:

        def make(*, roles: tuple[str, ...] = ROLES, steps: int = 30) -> Network:
            made = stack.enter_context(Network.copied_from(homes, tmp_path / "net"))
            for index, (before, after) in enumerate(zip(ROLES, roles, strict=True)):
                made.configure(index, f"roles = {_toml(before)}", f"roles = {_toml(after)}")
                made.configure(index, "steps = ", f"steps = {steps} # ")
            return made

        yield make


def _toml(roles: str) -> str:
    return "[" + ", ".join(f'"{role}"' for role in roles.split(",")) + "]"
