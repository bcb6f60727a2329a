"""The ledger as an application: pool checks, proposals, local judgement, back-off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pdfedchain.application import Application, Judgement
from pdfedchain.codec import decode, encode
from pdfedchain.errors import InvalidBlock, InvalidTransaction, NotYet, SignatureError
from pdfedchain.ids import Cid
from pdfedchain.limits import TASKS_DEPLOYED_MAX
from pdfedchain.state import ledger as ledger_module
from pdfedchain.state.ledger import Ledger
from pdfedchain.state.settlements import extension_bytes
from pdfedchain.state.verified import VerifiedTransactions
from pdfedchain.types.ballot import Outcome
from pdfedchain.types.block import BlockBody
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.score import Unscorable, UnscorableReason
from pdfedchain.types.transaction import CreateTask, SignedTransaction, Transfer
from tests.pdfedchain.ledger_world import CHAIN_ID, GOOD, TASK, World, cid_of, key_of, offer, registration, varied

TRAINER, VOTER = key_of("trainer"), key_of("voter")
EVERYBODY: dict[int, Outcome] = dict.fromkeys(range(4), GOOD)


class Scorer:
    """A node's own results, set by the test."""

    def __init__(self, **results: Outcome) -> None:
        self.results = {cid_of(name): result for name, result in results.items()}

    def __call__(self, checkpoint: Cid) -> Outcome | None:
        return self.results.get(checkpoint)


def agreed_world(scorer: Scorer, report: Outcome = GOOD) -> World:
    world = World(ledger=Ledger(scorer))
    world.submit("one")
    world.start_scoring("one")
    reports = dict.fromkeys(range(4), report)
    world.commit("one", reports)
    world.reveal("one", reports)
    return world


def settling(*names: str) -> BlockBody:
    return BlockBody((), extension_bytes(tuple(cid_of(name) for name in names), None))


def test_the_ledger_is_an_application() -> None:
    application: Application = Ledger()
    assert (application.name, application.version) == ("pdfed-ledger", 1)


# Pool


def test_check_tells_ready_and_early_from_impossible() -> None:
    world = World()
    check, context = world.ledger.check, world.context()
    pay = Transfer(VOTER.address, 1)
    check(world.state, context, world.sign(TRAINER, pay, nonce=0))
    for nonce in (1, 64):
        with pytest.raises(NotYet):
            check(world.state, context, world.sign(TRAINER, pay, nonce=nonce))
    for data, rule in (
        (world.sign(TRAINER, pay, nonce=65), "nonce"),
        (world.sign(TRAINER, pay, chain_id="other"), "chain"),
        (world.sign(TRAINER, Transfer(VOTER.address, 10**9)), "balance"),
        (world.sign(VOTER, world.have("one")), "not-an-authority"),
    ):
        with pytest.raises(InvalidTransaction) as caught:
            check(world.state, context, data)
        assert (caught.value.rule, type(caught.value)) == (rule, InvalidTransaction)
    signed = decode(SignedTransaction, world.sign(TRAINER, pay), size_bytes_max=10_000)
    with pytest.raises(SignatureError):
        check(world.state, context, encode(replace(signed, signature=bytes(64))))


def test_check_refuses_what_no_block_has_room_for() -> None:
    world = World(chain_parameters=ChainParameters(block_size_bytes_max=2_048 + 100))
    with pytest.raises(InvalidTransaction, match="a block has room for 95"):
        world.ledger.check(world.state, world.context(), world.sign(TRAINER, Transfer(VOTER.address, 1)))


# Signatures


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[SignedTransaction]:
    """Every verification of a transaction's signature, in order."""
    calls: list[SignedTransaction] = []
    verify = SignedTransaction.verify_encoded

    def counted(signed: SignedTransaction, data: bytes) -> None:
        calls.append(signed)
        verify(signed, data)

    monkeypatch.setattr(SignedTransaction, "verify_encoded", counted)
    return calls


def test_a_signature_is_verified_once_from_the_pool_to_the_block(verifications: list[SignedTransaction]) -> None:
    world = World()
    pay = world.sign(TRAINER, Transfer(VOTER.address, 1))
    for _ in range(3):
        world.ledger.check(world.state, world.context(), pay)
    body = world.ledger.propose(world.state, world.context(), (pay,))
    world.block(*body.transactions)
    assert (body.transactions, len(verifications)) == ((pay,), 1)


def test_a_bad_signature_is_refused_every_time(verifications: list[SignedTransaction]) -> None:
    world = World()
    good = world.sign(TRAINER, Transfer(VOTER.address, 1))
    forged = encode(replace(decode(SignedTransaction, good, size_bytes_max=10_000), signature=bytes(64)))
    world.ledger.check(world.state, world.context(), good)
    for _ in range(2):
        with pytest.raises(SignatureError):
            world.ledger.check(world.state, world.context(), forged)
        with pytest.raises(InvalidBlock, match="signature"):
            world.ledger.execute(world.state, world.context(), BlockBody((forged,), b""))
    assert len(verifications) == 5


def test_a_verified_signature_does_not_make_a_transaction_of_another_chain_valid() -> None:
    world = World()
    pay = world.sign(TRAINER, Transfer(VOTER.address, 1))
    world.ledger.check(world.state, world.context(), pay)
    with pytest.raises(InvalidTransaction, match="chain"):
        world.ledger.check(world.state, replace(world.context(), chain_id="other"), pay)


def test_the_least_recently_used_signature_is_forgotten(verifications: list[SignedTransaction]) -> None:
    world, verified = World(), VerifiedTransactions(count_max=2)
    data = [world.sign(TRAINER, Transfer(VOTER.address, amount)) for amount in (1, 2, 3)]
    signed = [decode(SignedTransaction, item, size_bytes_max=10_000) for item in data]
    for index in (0, 1, 0, 2, 0, 1):
        assert verified.open(data[index]) == signed[index]
    assert verifications == [signed[0], signed[1], signed[2], signed[1]]


def test_a_large_transaction_is_decoded_again_but_not_verified_again(verifications: list[SignedTransaction]) -> None:
    world, verified = World(), VerifiedTransactions()
    data = world.sign(TRAINER, replace(registration("large"), description="x" * 1_000))
    assert verified.open(data) == verified.open(data) == decode(SignedTransaction, data, size_bytes_max=10_000)
    assert verified.open(data) is not verified.open(data)
    assert len(verifications) == 1


# Proposing


def test_a_proposal_takes_what_succeeds_and_orders_each_sender_by_nonce() -> None:
    world = World()
    late, early = (world.sign(TRAINER, Transfer(VOTER.address, 1), nonce=nonce) for nonce in (1, 0))
    gap = world.sign(TRAINER, Transfer(VOTER.address, 1), nonce=3)
    broke = world.sign(VOTER, Transfer(TRAINER.address, 10**6))
    other = world.sign(VOTER, Transfer(TRAINER.address, 5))
    body = world.ledger.propose(world.state, world.context(), (b"rubbish", late, gap, broke, early, other))
    assert body == BlockBody((early, late, other), b"")
    world.block(*body.transactions)


def test_a_long_chain_of_nonces_in_reverse_is_taken_whole() -> None:
    world = World()
    candidates = [world.sign(TRAINER, Transfer(VOTER.address, 1), nonce=nonce) for nonce in reversed(range(30))]
    body = world.ledger.propose(world.state, world.context(), candidates)
    assert body.transactions == tuple(reversed(candidates))


def test_a_proposal_stays_within_the_block_size() -> None:
    world = World(chain_parameters=ChainParameters(block_size_bytes_max=4_096))
    candidates = [world.sign(TRAINER, Transfer(VOTER.address, 1), nonce=nonce) for nonce in range(60)]
    body = world.ledger.propose(world.state, world.context(), candidates)
    assert 0 < len(body.transactions) < 60
    assert len(encode(body)) + 400 <= 4_096  # a header is below 400 bytes
    world.block(*body.transactions)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every candidate that a proposer decodes, in order."""
    calls: list[bytes] = []
    open_transaction = ledger_module.open_transaction

    def noted(data: bytes, chain_id: str, verified: VerifiedTransactions | None = None) -> SignedTransaction:
        calls.append(data)
        return open_transaction(data, chain_id, verified)

    monkeypatch.setattr(ledger_module, "open_transaction", noted)
    return calls


def test_a_proposer_opens_nothing_more_when_the_block_is_full_in_bytes(opened: list[bytes]) -> None:
    world = World(chain_parameters=ChainParameters(block_size_bytes_max=4_096))
    candidates = [world.sign(TRAINER, Transfer(VOTER.address, 1), nonce=nonce) for nonce in range(60)]
    body = world.ledger.propose(world.state, world.context(), candidates)
    assert 0 < len(body.transactions) < 60
    assert tuple(opened) == body.transactions


def test_a_proposer_opens_nothing_more_when_the_block_is_full_in_number(
    opened: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "TRANSACTIONS_PER_BLOCK_MAX", 3)
    world = World()
    candidates = [world.sign(TRAINER, Transfer(VOTER.address, 1), nonce=nonce) for nonce in range(9)]
    body = world.ledger.propose(world.state, world.context(), candidates)
    assert body.transactions == tuple(opened) == tuple(candidates[:3])


def test_a_small_transaction_gets_the_room_that_a_large_one_does_not_fit_into() -> None:
    world = World()
    small = world.sign(TRAINER, Transfer(VOTER.address, 1))
    described = replace(registration("voter"), description="x" * 1_000)
    large = world.sign(VOTER, described)
    room = 2_048 + len(small) + 200
    assert room < 2_048 + len(large)
    tight = World(chain_parameters=ChainParameters(block_size_bytes_max=room))
    assert tight.ledger.propose(tight.state, tight.context(), (large, small)).transactions == (small,)


def test_a_proposal_lists_what_this_node_agrees_with_in_round_0() -> None:
    world = agreed_world(Scorer(one=GOOD))
    assert world.ledger.propose(world.state, world.context(), ()) == settling("one")
    assert world.ledger.propose(world.state, world.context(round_=1), ()) == BlockBody((), b"")


@pytest.mark.parametrize("scorer", [Scorer(), Scorer(one=varied(confirmed=3))], ids=["no result", "disagrees"])
def test_a_proposer_settles_nothing_it_does_not_agree_with(scorer: Scorer) -> None:
    world = agreed_world(scorer)
    assert world.ledger.propose(world.state, world.context(), ()) == BlockBody((), b"")


def test_a_failed_settlement_is_left_alone_for_a_growing_number_of_heights() -> None:
    world = agreed_world(Scorer(one=GOOD))
    pauses = []
    for _ in range(6):
        assert world.ledger.propose(world.state, world.context(), ()) == settling("one")
        world.ledger.on_attempt_failed(world.height + 1, settling("one"))
        start = world.height
        while world.ledger.propose(world.state, world.context(), ()) != settling("one"):
            world.block()
        pauses.append(world.height - start)
    assert pauses == [3, 5, 9, 17, 17, 17]


def test_a_proposal_with_transactions_and_settlements_executes() -> None:
    world = agreed_world(Scorer(one=GOOD))
    pay, again = world.sign(TRAINER, Transfer(VOTER.address, 1)), world.sign(*world.opening("one", VOTER, GOOD))
    body = world.ledger.propose(world.state, world.context(), (pay, again))
    assert body == BlockBody((pay,), settling("one").extension)
    world.block(*body.transactions, settle=(cid_of("one"),))
    assert world.checkpoint("one").status.value == "accepted"


# Judging


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, Judgement.PENDING),
        (GOOD, Judgement.VALID),
        (varied(fid_micro=GOOD.fid_micro + 2), Judgement.VALID),
        (varied(fid_micro=GOOD.fid_micro + 3), Judgement.INVALID),
        (varied(confirmed=3), Judgement.INVALID),
        (Unscorable(UnscorableReason.DIVERGED), Judgement.INVALID),
    ],
)
def test_judgement_compares_the_settled_score_with_the_own_one(own: Outcome | None, expected: Judgement) -> None:
    scorer = Scorer() if own is None else Scorer(one=own)
    world = agreed_world(scorer)
    assert world.ledger.judge(world.state, world.context(), settling("one")) is expected


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (GOOD, Judgement.INVALID),
        (Unscorable(UnscorableReason.MALFORMED), Judgement.VALID),
        (Unscorable(UnscorableReason.DIVERGED), Judgement.VALID),
    ],
)
def test_judgement_of_a_finding_asks_whether_the_own_one_is_a_finding_too(own: Outcome, expected: Judgement) -> None:
    world = agreed_world(Scorer(one=own), Unscorable(UnscorableReason.MALFORMED))
    assert world.ledger.judge(world.state, world.context(), settling("one")) is expected


def test_a_block_without_settlements_is_nobody_s_matter_of_opinion() -> None:
    world = World()
    assert world.ledger.judge(world.state, world.context(), BlockBody((), b"")) is Judgement.VALID


def test_the_worst_of_several_judgements_counts() -> None:
    scorer = Scorer(one=GOOD)
    world = World(ledger=Ledger(scorer))
    for name, author in (("one", "trainer"), ("two", "voter")):
        world.submit(name, author)
    for name in ("one", "two"):
        world.start_scoring(name)
        world.commit(name, EVERYBODY)
        world.reveal(name, EVERYBODY)
    both = settling("one", "two")
    assert world.ledger.judge(world.state, world.context(), both) is Judgement.PENDING
    scorer.results[cid_of("two")] = varied(confirmed=9)
    assert world.ledger.judge(world.state, world.context(), both) is Judgement.INVALID
    scorer.results[cid_of("two")] = GOOD
    assert world.ledger.judge(world.state, world.context(), both) is Judgement.VALID
    assert world.ledger.propose(world.state, world.context(), ()) == both


def test_judgement_of_what_cannot_be_settled_is_invalid() -> None:
    world = World(ledger=Ledger(Scorer(one=GOOD)))
    world.submit("one")
    for body in (settling("one"), settling("unknown"), BlockBody((), b"rubbish")):
        assert world.ledger.judge(world.state, world.context(), body) is Judgement.INVALID


def test_a_chain_of_one_authority_settles_by_itself() -> None:
    world = World(1, ledger=Ledger(Scorer(one=GOOD)))
    world.accept("one")
    assert world.checkpoint("one").status.value == "accepted"


def test_another_task_has_a_queue_of_its_own() -> None:
    other = replace(TASK, name="other")
    world = World(tasks=(TASK, other))
    for name in ("one", "two"):
        world.submit(name)
    world.block((TRAINER, offer("three", other)))
    assert world.checkpoint("three").status.value == "submitted"
    assert world.genesis.chain_id == CHAIN_ID


def test_one_authority_deploys_its_share_of_the_tasks_and_no_more() -> None:
    world = World()
    greedy, other = world.authorities[:2]
    share = TASKS_DEPLOYED_MAX // 4
    first = world.view.account(greedy.address).nonce
    world.block(
        *(
            world.sign(greedy, CreateTask(replace(TASK, name=f"task{number}")), nonce=first + number)
            for number in range(share)
        )
    )
    with pytest.raises(InvalidBlock, match=f"its share is {share}"):
        world.block((greedy, CreateTask(replace(TASK, name="one more"))))
    world.block((other, CreateTask(replace(TASK, name="one more"))))
    assert len(world.view.index.tasks) == share + 2
    assert world.view.task_count(other.address) == 1
