"""Handlers of the chain: a replica that hears messages, a ledger that is given transactions and blocks, proofs, logs.

Signatures would refuse nearly every generated message at the door. So the first byte of an input may ask that what is
decoded be signed with the right keys: the inputs of a Byzantine authority.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pdfedchain.codec import decode, encode
from pdfedchain.consensus.blocks import position_at_start
from pdfedchain.consensus.checks import check_final, check_signature
from pdfedchain.consensus.effects import StartTimer
from pdfedchain.consensus.inputs import Timer
from pdfedchain.consensus.log import pack_entry, unpack_entry
from pdfedchain.consensus.messages import (
    MESSAGE_SIZE_BYTES_MAX,
    CertificateMessage,
    ConsensusMessage,
    FinalBlockMessage,
    ProposalMessage,
    RoundStatus,
    VoteMessage,
    VotesMessage,
)
from pdfedchain.consensus.replica import Replica
from pdfedchain.crypto import StateProof, StateTree, verify_absence, verify_presence
from pdfedchain.errors import DecodeError, InputError, StateError
from pdfedchain.ids import Hash, parse_address, parse_cid
from pdfedchain.state.ledger import Ledger
from pdfedchain.state.settlements import extension_bytes
from pdfedchain.store.wal import FileLog
from pdfedchain.types.block import BlockBody, FinalBlock
from pdfedchain.types.transaction import (
    CreateTask,
    Have,
    Register,
    Transaction,
    Transfer,
)
from pdfedchain.types.vote import NO_ROUND, Certificate, Proposal, Vote
from tests.fuzz.target import LENGTH_MAX, Target, scratch_folder
from tests.pdfedchain.consensus.world import (
    GENESIS,
    KEYS,
    PRECOMMIT,
    PREVOTE,
    Home,
    block_of,
    certificate,
    proposal,
    proposed,
    vote,
)
from tests.pdfedchain.ledger_world import CHAIN_ID, GOOD, TASK, World, cid_of, key_of, offer, registration

__all__ = ["chain_targets"]

_KEY_OF = {key.address: key for key in KEYS}
_REPLICA_LIFE = 500


class ReplicaTarget:
    """A replica of a chain of four hears message after message, some rightly signed; now and then a timer fires."""

    def __init__(self) -> None:
        self._heard = _REPLICA_LIFE
        self._replica: Replica | None = None
        self._timers: list[Timer] = []

    def __call__(self, data: bytes) -> None:
        if self._heard >= _REPLICA_LIFE or self._replica is None:
            self._heard, self._timers = 0, []
            self._replica = Home().replica()
            self._note(self._replica.start())
        self._heard += 1
        if data[:1] and data[0] & 2 and self._timers:
            self._note(self._replica.on_timeout(self._timers.pop(0)))
        try:
            message = decode(ConsensusMessage, data[1:], size_bytes_max=MESSAGE_SIZE_BYTES_MAX).body
            self._note(self._replica.on_message(signed(message) if data[0] & 1 else message, "peer"))
        except InputError:
            return
        except StateError as error:
            # All authorities have signed for something invalid, and the node stops.
            if "a quorum finalised" not in str(error) or not data[0] & 1:
                raise
            self._replica = None

    def _note(self, effects: tuple[object, ...]) -> None:
        self._timers += [effect.timer for effect in effects if isinstance(effect, StartTimer)][:50]


Message = ProposalMessage | VoteMessage | VotesMessage | CertificateMessage | FinalBlockMessage | RoundStatus


def signed(message: Message) -> Message:
    """The same message with the signatures that its senders would put."""
    match message:
        case VoteMessage(one):
            return VoteMessage(_sign_vote(one))
        case VotesMessage(several):
            return VotesMessage(tuple(_sign_vote(one) for one in several))
        case ProposalMessage(one, block, polka):
            body = replace(one, block=block.hash)
            key = _KEY_OF.get(body.proposer, KEYS[1])
            body = replace(body, proposer=key.address)
            polka = None if polka is None else _sign_certificate(replace(polka, block=block.hash))
            return ProposalMessage(replace(body, signature=key.sign(body.signing_bytes())), block, polka)
        case CertificateMessage(one):
            return CertificateMessage(_sign_certificate(one))
        case FinalBlockMessage(final):
            certificate_ = _sign_certificate(replace(final.certificate, block=final.block.hash))
            return FinalBlockMessage(FinalBlock(final.block, certificate_))
        case RoundStatus():
            return message


def _sign_certificate(one: Certificate) -> Certificate:
    """The same statement with the signatures of those whom it names and of as many others as it has strangers."""
    known = [entry.voter for entry in one.signatures if entry.voter in _KEY_OF]
    others = [address for address in _KEY_OF if address not in known]
    voters = {*known, *others[: len(one.signatures) - len(known)]}
    unsigned = (
        Vote(one.chain_id, one.set_id, one.height, one.round, one.kind, one.block, voter, bytes(64)) for voter in voters
    )
    return Certificate.of(_sign_vote(vote) for vote in unsigned) if voters else one


def _sign_vote(one: Vote) -> Vote:
    key = _KEY_OF.get(one.voter, KEYS[2])
    one = replace(one, voter=key.address)
    return replace(one, signature=key.sign(one.signing_bytes()))


def _messages() -> tuple[bytes, ...]:
    block = block_of(0)
    other = block_of(1)
    polka = certificate(PREVOTE, other.hash, round_=1)
    bodies: tuple[Message, ...] = (
        proposed(block),
        proposed(other, round_=2, valid_round=1, polka=polka),
        VoteMessage(vote(KEYS[1], PREVOTE, block.hash)),
        VoteMessage(vote(KEYS[2], PRECOMMIT, None, round_=3)),
        VotesMessage(tuple(vote(key, PREVOTE, block.hash) for key in KEYS[1:])),
        CertificateMessage(certificate(PRECOMMIT, block.hash)),
        FinalBlockMessage(FinalBlock(block, certificate(PRECOMMIT, block.hash))),
        RoundStatus(1, 0, True, 2, True, b"\x07", b"\x00", 0, None),
    )
    return tuple(bytes([flags]) + encode(ConsensusMessage(body)) for flags in (0, 1, 3) for body in bodies)


class FinalBlockTarget:
    """A block that claims to be final, as synchronisation receives it."""

    def __init__(self) -> None:
        self._position = position_at_start(GENESIS, Home().store.state())
        block = block_of(0)
        self.true = FinalBlock(block, certificate(PRECOMMIT, block.hash))

    def __call__(self, data: bytes) -> None:
        try:
            final = decode(FinalBlock, data, size_bytes_max=LENGTH_MAX)
            check_final(final, self._position, check_signature)
        except InputError:
            return
        if final.block.hash != self.true.block.hash:
            raise AssertionError("a block that nobody voted for passes as final")


class LedgerTarget:
    """Transactions of people the ledger knows, on a state with submissions in several phases, one after the other."""

    names = ("trainer", "voter", "authority0", "authority1", "outsider")

    def __init__(self) -> None:
        self._world = world = World()
        # At most two are scored at once, so what comes after these two waits in the queue.
        world.accept("accepted", author="authority3")
        for name, author in (("scored", "trainer"), ("waiting", "voter"), ("queued", "trainer")):
            world.submit(name, author=author)
        world.start_scoring("scored")
        self._ledger = Ledger()
        self._state = world.state

    def __call__(self, data: bytes) -> None:
        try:
            transaction = decode(Transaction, data[1:], size_bytes_max=LENGTH_MAX)
        except DecodeError:
            return
        key = key_of(self.names[data[0] % len(self.names)])
        account_nonce = self._world.view.account(key.address).nonce
        nonce = account_nonce if data[0] & 0x80 else transaction.nonce
        raw = encode(replace(transaction, chain_id=CHAIN_ID, sender=key.address, nonce=nonce).sign(key))
        root, context = self._state.root, self._world.context()
        try:
            self._ledger.check(self._state, context, raw)
        except InputError as refusal:
            try:
                self._ledger.execute(self._state, context, BlockBody((raw,), b""))
            except InputError:
                pass
            else:
                raise AssertionError(f"refused by check ({refusal}) and executed all the same")
        else:
            self._ledger.execute(self._state, context, BlockBody((raw,), b""))
        if self._state.root != root:
            raise AssertionError("a transaction has changed the state that it was tried on")


def _transactions() -> tuple[bytes, ...]:
    key = key_of("trainer")
    world = World()
    authority = world.authorities[0]
    payloads = (
        Transfer(authority.address, 5),
        registration("trainer"),
        Register("x", 1, Hash(bytes(32)), key.address, "text"),
        CreateTask(replace(TASK, name="another")),
        offer("fresh"),
        offer("child", parents=(cid_of("accepted"),)),
        Have(cid_of("waiting"), 1),
        world.commitment("scored", authority, GOOD)[1],
        world.opening("scored", authority, GOOD)[1],
    )
    return tuple(
        bytes([0x80 | who]) + encode(Transaction(CHAIN_ID, key.address, 0, payload))
        for payload in payloads
        for who in (0, 2)
    )


class BodyTarget:
    """A block's body as a proposer may write it."""

    def __init__(self) -> None:
        self._world = World()
        self._world.submit("waiting")
        self._ledger = Ledger()

    def __call__(self, data: bytes) -> None:
        try:
            body = decode(BlockBody, data, size_bytes_max=LENGTH_MAX)
            self._ledger.execute(self._world.state, self._world.context(), body)
        except InputError:
            return


def _bodies() -> tuple[bytes, ...]:
    key = key_of("trainer")
    transfer = encode(Transaction(CHAIN_ID, key.address, 0, Transfer(key.address, 1)).sign(key))
    settled = extension_bytes((cid_of("waiting"),), None)
    return tuple(
        encode(body) for body in (BlockBody((), b""), BlockBody((transfer,), b""), BlockBody((transfer,), settled))
    )


class ProofTarget:
    """Proofs that were changed show nothing false about a state of a hundred keys."""

    def __init__(self) -> None:
        tree = StateTree()
        for index in range(100):
            tree = tree.put(b"key %d" % index, b"value %d" % index)
        self._tree = tree
        self.seeds = tuple(encode(tree.prove(b"key %d" % index)) for index in (0, 7, 99, 100, 101))

    def __call__(self, data: bytes) -> None:
        try:
            proof = decode(StateProof, data, size_bytes_max=16_384)
        except DecodeError:
            return
        root = self._tree.root
        for index in (0, 7, 99, 100, 101):
            key, truth = b"key %d" % index, self._tree.get(b"key %d" % index)
            try:
                verify_absence(root, key, proof)
            except InputError:
                pass
            else:
                if truth is not None:
                    raise AssertionError(f"{key!r} is proven absent")
            for value in (b"value %d" % index, b"another"):
                try:
                    verify_presence(root, key, value, proof)
                except InputError:
                    continue
                if truth != value:
                    raise AssertionError(f"{key!r} is proven to be {value!r}")


class LogFileTarget:
    """What a crash, or a bad disk, may leave of a log."""

    def __init__(self) -> None:
        self._path = scratch_folder() / "log"
        log = FileLog(self._path)
        log.begin(7)
        for entry in (b"first", b"", b"x" * 300):
            log.append(entry)
        log.close()
        self.seeds = (self._path.read_bytes(), b"pdfdwal1", b"")

    def __call__(self, data: bytes) -> None:
        self._path.write_bytes(data)
        try:
            log = FileLog(self._path)
        except StateError:
            return
        kept = log.entries()
        log.begin(8)
        log.append(b"more")
        log.close()
        if kept and not data.startswith(b"pdfdwal1"):
            raise AssertionError("entries out of a file that is no log")


def _log_entry(data: bytes) -> None:
    try:
        entry = unpack_entry(data)
    except StateError:
        return
    if pack_entry(entry) != data:
        raise AssertionError("two encodings of one entry")


def _cid(data: bytes) -> None:
    text = data.decode("latin-1")
    try:
        parse_cid(text)
    except DecodeError:
        return


def _address(data: bytes) -> None:
    text = data.decode("latin-1")
    try:
        if parse_address(text).hex() != text:
            raise AssertionError("two texts of one address")
    except DecodeError:
        return


def _certificate(data: bytes) -> None:
    try:
        decode(Certificate, data, size_bytes_max=LENGTH_MAX).verify(GENESIS.chain_id, GENESIS.authorities)
    except InputError:
        return


def _signature(data: bytes) -> None:
    """A proposal that verifies is the one that was signed."""
    try:
        found = decode(Proposal, data, size_bytes_max=LENGTH_MAX)
        check_signature(found)
    except InputError:
        return
    if encode(found) != _PROPOSAL:
        raise AssertionError("a signature of something else")


_PROPOSAL = encode(proposal(Hash(b"b" * 32), round_=0, valid_round=NO_ROUND))


def chain_targets() -> Iterator[Target]:
    """Targets of `pdfedchain` beyond the codec."""
    final, proof, log_file = FinalBlockTarget(), ProofTarget(), LogFileTarget()
    yield Target("handle/consensus-message", ReplicaTarget(), _messages())
    yield Target("handle/final-block", final, (encode(final.true),))
    yield Target("handle/transaction", LedgerTarget(), _transactions())
    yield Target("handle/block-body", BodyTarget(), _bodies())
    yield Target("verify/state-proof", proof, proof.seeds)
    yield Target("verify/certificate", _certificate, (encode(certificate(PRECOMMIT, Hash(b"a" * 32))),))
    yield Target("verify/proposal", _signature, (_PROPOSAL,))
    yield Target("parse/log-file", log_file, log_file.seeds)
    yield Target("parse/log-entry", _log_entry, (pack_entry(VoteMessage(vote(KEYS[1], PREVOTE, None))),))
    yield Target("parse/cid", _cid, (b"bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", b"b", b""))
    yield Target("parse/address", _address, (b"ab" * 32,))
