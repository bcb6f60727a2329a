"""The audit of a chain: everything a store says is derived again from its genesis.

`verify_chain` takes a genesis as given and re-executes every block: headers, bodies, times, turns, certificates,
state roots, events, and what the store says the state is now. It does not stop at the first problem. After a block
that cannot be read or executed the state is unknown, so from there on only what does not need it is checked: form,
links and certificates. Where bodies are pruned, headers and certificates are followed from genesis, the state at the
end is compared with the last header's root, and one problem of kind `ProblemKind.PRUNED` says what could not be
derived. What is not checked here is what lies outside the chain: whether a score is right needs the
weights (``pdfed audit``), and whether this is the chain one means needs its genesis hash from somebody one trusts.

The checks are written anew and do not call the structural verdict of `pdfedchain.consensus`: an auditor that shares
its arithmetic with what it audits shares its mistakes.
"""

from __future__ import annotations

import enum
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pdfedchain.application import Application, BlockContext, Execution, Rules, rules_of, versions_of, versions_text
from pdfedchain.codec import encode
from pdfedchain.crypto import StateTree, hash_of, tagged_hash
from pdfedchain.errors import DecodeError, InputError, InvalidBlock, InvalidProof, NotFound, Pruned, StateError
from pdfedchain.ids import Hash, check_cid, cid_text
from pdfedchain.limits import BLOCK_SIZE_BYTES_MAX, CID_SIZE_BYTES
from pdfedchain.store.interface import Store
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.block import Block, Header
from pdfedchain.types.event import Event
from pdfedchain.types.genesis import Genesis
from pdfedchain.types.transaction import transaction_hash
from pdfedchain.types.vote import Certificate, VoteKind

__all__ = ["Problem", "ProblemKind", "verify_chain"]

#: Differences of the stored state beyond this many are summed up in one problem.
_STATE_PROBLEMS_MAX: Final = 20


class ProblemKind(enum.StrEnum):
    """What is wrong."""

    #: There is no genesis, or the application cannot begin with it.
    GENESIS = "genesis"
    #: A block is not stored, cannot be read, or is not found by its hash.
    BLOCK = "block"
    #: A header says something else than the chain does: chain, version, height, turn or authority set.
    HEADER = "header"
    #: A header does not name the block before.
    PARENT = "parent"
    #: A header's time is too close to its parent's, or before it.
    TIME = "time"
    #: A header does not name its body, or the block is too large.
    BODY = "body"
    #: No quorum of the right authorities has precommitted the block.
    CERTIFICATE = "certificate"
    #: The application refuses the block.
    EXECUTION = "execution"
    #: Not wrong, but not executable here: the block is of a version that this program does not know.
    VERSION = "version"
    #: Executing the block gives another state, or another next authority set, than its header says.
    STATE_ROOT = "state-root"
    #: The stored events are not those of the execution.
    EVENTS = "events"
    #: A transaction is not found where it is.
    TRANSACTION_INDEX = "transaction-index"
    #: The stored state is not the one after the last block.
    STATE = "state"
    #: Not wrong, but not checkable here: the bodies of these blocks are not kept.
    PRUNED = "pruned"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it must be. ``where`` names the place; the other two are short texts."""

    kind: ProblemKind
    where: str
    expected: str
    found: str


def verify_chain(store: Store, application: Application) -> Iterator[Problem]:
    """Derive a chain again from its genesis, and tell what differs; nothing for a chain without fault."""
    try:
        genesis = store.genesis()
        if genesis is None:
            yield Problem(ProblemKind.GENESIS, "genesis", "a genesis", "an empty store")
            return
        state = application.genesis_state(genesis)
    except (DecodeError, StateError) as error:
        yield Problem(ProblemKind.GENESIS, "genesis", f"a genesis of {application.name}", str(error))
        return
    auditor = _Auditor(store, application, genesis, state)
    kept_from = store.bodies_from()
    for height in range(1, store.height() + 1):
        yield from auditor.block(height) if height >= kept_from else auditor.pruned_block(height)
    if kept_from > 1:
        where, found = f"blocks 1 to {kept_from - 1}", "pruned: certificates checked, execution not"
        yield Problem(ProblemKind.PRUNED, where, "bodies to execute", found)
        yield from auditor.certified_state()
    yield from auditor.final_state()


class _Auditor:
    """The chain so far.

    ``state`` is ``None`` once it cannot be known any more, ``parent`` where the block before cannot be read. The
    authorities are then the last known ones, and what depends on the rules in effect is not checked.
    """

    def __init__(self, store: Store, application: Application, genesis: Genesis, state: StateTree) -> None:
        self.store = store
        self.application = application
        self.genesis = genesis
        self.state: StateTree | None = state
        self.authorities = genesis.authorities
        self.rules = Rules(genesis.version, genesis.parameters)
        self.parent: Hash | None = genesis.hash
        self.parent_time_ms = genesis.time_ms

    def block(self, height: int) -> Iterator[Problem]:
        """Audit one block and move on."""
        where = f"block {height}"
        try:
            final = self.store.final_block(height)
        except (NotFound, StateError) as error:
            yield Problem(ProblemKind.BLOCK, where, "a final block", str(error))
            self.parent, self.state = None, None
            return
        block = final.block
        yield from self._header(where, height, block.header)
        yield from self._body(where, block)
        yield from self._certificate(where, block.header, final.certificate)
        yield from self._lookup(where, height, block)
        execution = yield from self._execution(where, block)
        if execution is not None:
            yield from self._events(where, height, execution.events)
            self.authorities = execution.next_authorities
            self.rules = rules_of(self.application, self.genesis, execution.state, height + 1)
        else:
            self._follow_handover(height)
        self.state = None if execution is None else execution.state
        self.parent, self.parent_time_ms = block.hash, block.header.time_ms

    def pruned_block(self, height: int) -> Iterator[Problem]:
        """Audit what is left of a block without a body, and move on."""
        where, self.state = f"block {height}", None
        try:
            light = self.store.light_block(height)
        except (NotFound, StateError) as error:
            if not isinstance(error, Pruned):
                yield Problem(ProblemKind.BLOCK, where, "a header with its certificate", str(error))
            self.parent = None
            return
        yield from self._header(where, height, light.header)
        yield from self._certificate(where, light.header, light.certificate)
        self._follow_handover(height)
        self.parent, self.parent_time_ms = light.hash, light.header.time_ms

    def _follow_handover(self, height: int) -> None:
        """Take over the authorities that the header names where execution cannot say who they are."""
        try:
            light = self.store.light_block(height)
        except (NotFound, StateError):
            return
        named = light.next_authorities
        if named is not None and hash_of(named) == light.header.next_authorities:
            self.authorities = named

    def _header(self, where: str, height: int, header: Header) -> Iterator[Problem]:
        genesis, known = self.genesis, self.state is not None
        for kind, what, expected, found in (
            (ProblemKind.HEADER, "chain ", genesis.chain_id, header.chain_id),
            (ProblemKind.HEADER, "version ", self.rules.version if known else header.version, header.version),
            (ProblemKind.HEADER, "height ", height, header.height),
            (ProblemKind.HEADER, "proposer ", _turn(self.authorities, header.height, header.round), header.proposer),
            (ProblemKind.HEADER, "authority set ", hash_of(self.authorities), header.authorities),
            (ProblemKind.PARENT, "parent ", header.parent if self.parent is None else self.parent, header.parent),
        ):
            if expected != found:
                yield Problem(kind, where, what + _text(expected), what + _text(found))
        earliest_ms = self.parent_time_ms + (self.rules.parameters.block_interval_min_ms if known else 1)
        if header.time_ms < earliest_ms:
            yield Problem(ProblemKind.TIME, where, f"{earliest_ms} ms or later", f"{header.time_ms} ms")

    def _body(self, where: str, block: Block) -> Iterator[Problem]:
        if not block.is_consistent:
            expected, found = hash_of(block.body).hex(), block.header.body.hex()
            yield Problem(ProblemKind.BODY, where, f"body {expected}", f"body {found}")
        size_bytes_max = BLOCK_SIZE_BYTES_MAX if self.state is None else self.rules.parameters.block_size_bytes_max
        size_bytes = len(encode(block))
        if size_bytes > size_bytes_max:
            yield Problem(ProblemKind.BODY, where, f"at most {size_bytes_max} bytes", f"{size_bytes} bytes")

    def _certificate(self, where: str, header: Header, certificate: Certificate) -> Iterator[Problem]:
        expected = (VoteKind.PRECOMMIT, header.height, hash_of(header))
        found = (certificate.kind, certificate.height, certificate.block)
        if found != expected:
            texts = ("precommits for this block", f"{certificate.kind.name} for {_text(certificate.block)}")
            yield Problem(ProblemKind.CERTIFICATE, where, *texts)
            return
        try:
            certificate.verify(self.genesis.chain_id, self.authorities)
        except InvalidProof as error:
            yield Problem(ProblemKind.CERTIFICATE, where, "a quorum of valid signatures", str(error))

    def _lookup(self, where: str, height: int, block: Block) -> Iterator[Problem]:
        try:
            found_height = self.store.block_by_hash(block.hash).block.header.height
        except (NotFound, StateError):
            yield Problem(ProblemKind.BLOCK, where, f"to be found by its hash {block.hash.hex()}", "it is not")
        else:
            if found_height != block.header.height:
                yield Problem(ProblemKind.BLOCK, where, "to be found by its hash", f"block {found_height}")
        for position, transaction in enumerate(block.body.transactions):
            found = self.store.transaction_height(transaction_hash(transaction))
            # A transaction may be executed again later (a retried submission's ballots); the last place is kept.
            if found is None or found < height:
                text = "nowhere" if found is None else f"block {found}"
                yield Problem(ProblemKind.TRANSACTION_INDEX, f"{where}, transaction {position}", where, text)

    def _execution(self, where: str, block: Block) -> Generator[Problem, None, Execution | None]:
        """Execute a block; the value of the generator is the `Execution`, ``None`` where the state is unknown."""
        if self.state is None or self.parent is None:
            return None
        header, versions = block.header, versions_of(self.application)
        if self.rules.version not in versions:
            texts = (f"version {self.rules.version}", f"this program executes version {versions_text(versions)}")
            yield Problem(ProblemKind.VERSION, where, *texts)
            return None
        context = BlockContext(
            chain_id=self.genesis.chain_id,
            version=self.rules.version,
            height=header.height,
            round=header.round,
            time_ms=header.time_ms,
            parent=self.parent,
            proposer=header.proposer,
            beacon=tagged_hash("pdfed/beacon/v1", self.parent),
            authorities=self.authorities,
        )
        try:
            execution = self.application.execute(self.state, context, block.body)
        except InvalidBlock as error:
            yield Problem(ProblemKind.EXECUTION, where, "a block the application allows", str(error))
            return None
        agrees = True
        for what, expected, found in (
            ("state ", execution.state.root, header.state_root),
            ("next authority set ", hash_of(execution.next_authorities), header.next_authorities),
        ):
            if expected != found:
                agrees = False
                yield Problem(ProblemKind.STATE_ROOT, where, what + expected.hex(), what + found.hex())
        return execution if agrees else None

    def _events(self, where: str, height: int, expected: tuple[Event, ...]) -> Iterator[Problem]:
        try:
            found = tuple(stored.event for stored in self.store.events(from_height=height, to_height=height))
        except StateError as error:
            yield Problem(ProblemKind.EVENTS, where, f"{len(expected)} events", str(error))
            return
        if found != expected:
            texts = (", ".join(event.kind for event in events) or "none" for events in (expected, found))
            yield Problem(ProblemKind.EVENTS, where, *texts)

    def certified_state(self) -> Iterator[Problem]:
        """Compare the stored state with the root that the last header states; nothing else is known of it."""
        if self.state is not None:
            return
        try:
            header = self.store.light_block(self.store.height()).header
            root = _tree_of(self.store.state_items(b"")).root
            authorities = hash_of(self.store.next_authorities())
        except (NotFound, StateError, InputError) as error:
            yield Problem(ProblemKind.STATE, "state", "a readable state", str(error))
            return
        for where, expected, found in (
            ("state", header.state_root, root),
            ("authorities of the next block", header.next_authorities, authorities),
        ):
            if expected != found:
                yield Problem(ProblemKind.STATE, where, expected.hex(), found.hex())

    def final_state(self) -> Iterator[Problem]:
        """Compare the stored state with the one after the last block, key by key."""
        if self.state is None:
            return
        try:
            stored = dict(self.store.state_items(b""))
            authorities = self.store.next_authorities()
        except (StateError, InputError) as error:
            yield Problem(ProblemKind.STATE, "state", "a readable state", str(error))
            return
        if authorities != self.authorities:
            expected, found = hash_of(self.authorities).hex(), hash_of(authorities).hex()
            yield Problem(ProblemKind.STATE, "authorities of the next block", expected, found)
        derived = dict(self.state.items())
        differing = [key for key in sorted(derived.keys() | stored.keys()) if derived.get(key) != stored.get(key)]
        for key in islice(differing, _STATE_PROBLEMS_MAX):
            texts = (_value_text(derived.get(key)), _value_text(stored.get(key)))
            yield Problem(ProblemKind.STATE, _key_text(key), *texts)
        if len(differing) > _STATE_PROBLEMS_MAX:
            rest = len(differing) - _STATE_PROBLEMS_MAX
            yield Problem(ProblemKind.STATE, "state", "no further difference", f"{rest} more keys differ")


def _tree_of(items: Iterable[tuple[bytes, bytes]]) -> StateTree:
    tree = StateTree()
    for key, value in items:
        tree = tree.put(key, value)
    return tree


def _turn(authorities: AuthoritySet, height: int, round_: int) -> bytes:
    return authorities.members[(height + round_) % len(authorities.members)]


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _key_text(key: bytes) -> str:
    """A key for people: its prefix, and the identifier, address or hash behind it."""
    prefix, slash, rest = key.partition(b"/")
    if not slash:
        return f"key {key!r}"
    name = prefix.decode("ascii", "replace")
    try:
        cid = check_cid(rest[:CID_SIZE_BYTES])
    except DecodeError:
        return f"{name} {rest.hex()}"
    behind = rest[CID_SIZE_BYTES:]
    return f"{name} {cid_text(cid)}" + (f" {behind.hex()}" if behind else "")


def _value_text(value: bytes | None) -> str:
    if value is None:
        return "absent"
    return f"{len(value)} bytes, {value[:32].hex()}{'...' if len(value) > 32 else ''}"
