"""One height of one replica: the core with its log, its signer and the application around it.

After a crash the log is replayed: the same path without appending. The core is deterministic, so it wants the same
signatures, and the signer record gives them again, byte by byte. Whatever the core asked for last and never got (a
block, a judgement) is answered then.

If the log is lost, wholly or in part, the signer record shows more than replay leads to. The height then goes on
after the last thing on record: in that round and step, with that lock, with those votes; blocks come from others.
What the record forbids is not signed: the node is silent in that step and says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pdfedchain.application import Application, Execution, Judgement
from pdfedchain.consensus.blocks import Position, build_block, verify_block
from pdfedchain.consensus.effects import (
    BlockRefused,
    Broadcast,
    CastVote,
    CoreEffect,
    Decide,
    Effect,
    EnteredRound,
    Evidence,
    InvalidCommit,
    NeedJudgement,
    Propose,
    ScoreOverridden,
    SigningRefused,
    StartTimer,
)
from pdfedchain.consensus.engine import Engine
from pdfedchain.consensus.inputs import (
    Begin,
    CertificateReceived,
    Input,
    Judged,
    ProposalReceived,
    Recovered,
    TimeoutExpired,
    Timer,
    VoteReceived,
)
from pdfedchain.consensus.log import (
    BeginEntry,
    Entry,
    JudgementEntry,
    OwnBlockEntry,
    RecoveredEntry,
    TimeoutEntry,
)
from pdfedchain.consensus.messages import (
    CertificateMessage,
    ProposalMessage,
    VoteMessage,
    VotesMessage,
)
from pdfedchain.consensus.pen import Pen
from pdfedchain.consensus.ports import LearnsFromFailure, Log, Signer
from pdfedchain.consensus.round_machine import Step
from pdfedchain.consensus.rules import Rule
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InvalidBlock, StateError, WouldDoubleSign
from pdfedchain.ids import Hash
from pdfedchain.types.block import Block, FinalBlock
from pdfedchain.types.vote import NO_ROUND, Certificate, Proposal, Vote, VoteKind

__all__ = ["HIDDEN_LOCK_ROUND", "Environment", "HeightRun"]

#: From this round on a node with a valid value sends the whole block along on entering a round, not just the polka:
#: two failed rounds with the polka known to all hint at a block that some never got.
HIDDEN_LOCK_ROUND: Final = 2


@dataclass(frozen=True, slots=True)
class Environment:
    """What every height of a replica shares.

    Attributes:
        signer, key: both or neither; without them the node follows.
        clock: milliseconds since the Unix epoch.
        candidates: encoded transactions to choose from, best first.
        trace: told of every branch of the algorithm that is taken.
    """

    application: Application
    log: Log
    signer: Signer | None
    key: SigningKey | None
    clock: Callable[[], int]
    candidates: Callable[[], Sequence[bytes]]
    trace: Callable[[Rule], None] | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """A block, the message that brought it, and its structural verdict (``None`` for invalid)."""

    message: ProposalMessage
    execution: Execution | None


class HeightRun:
    """Runs one height to its decision. After every call, look at `decision`."""

    def __init__(self, environment: Environment, position: Position) -> None:
        self.position = position
        self.decision: tuple[FinalBlock, Execution] | None = None
        self._env = environment
        self._pen = Pen(environment.log, environment.signer, environment.key, position)
        self.engine = Engine(
            height=position.height,
            authorities=position.authorities,
            parameters=position.rules.parameters,
            me=environment.key.address if environment.key is not None else None,
            trace=environment.trace,
        )
        self._live = False
        self._known: dict[Hash, _Known] = {}
        self._timers: dict[Timer, int] = {}
        self._told_application = False
        self._wanted_block: int | None = None
        self._wanted_judgement: Hash | None = None

    # -- life ---------------------------------------------------------------------------------------------------

    def resume(self) -> list[Effect]:
        """Replay what the log holds, then go live. Call once, before anything else."""
        replayed: list[Effect] = []
        for entry in self._pen.written():
            if self.decision is None:
                replayed += self.apply(entry)
        self._live = True
        effects: list[Effect] = [effect for effect in replayed if not isinstance(effect, Broadcast | StartTimer)]
        if self.decision is not None:
            return effects
        recorded = self._pen.on_record()
        if recorded is not None and not self._knows(recorded):
            effects += self.apply(recorded)
        return effects + self._answer()

    def _knows(self, recorded: RecoveredEntry) -> bool:
        """Whether replay has led to the last thing on record: it has, unless the log was lost or damaged."""
        me, state = self.engine.me, self.engine.state
        if recorded.step == 0:
            proposal = self.engine.proposal(recorded.round)
            return (state.round, state.step) > (recorded.round, Step.PROPOSE) or (
                proposal is not None and proposal.proposer == me
            )
        return me is None or self.engine.tally.vote_of(me, recorded.round, VoteKind(recorded.step)) is not None

    def begin(self) -> list[Effect]:
        """Start round 0."""
        return [] if self.engine.begun else self.apply(BeginEntry())

    def on_timer(self, timer: Timer) -> list[Effect]:
        """One of the paper's timers fired."""
        if self._timers.pop(timer, None) is None:
            return []
        return self.apply(TimeoutEntry(timer.kind, timer.round))

    def judge_again(self) -> list[Effect]:
        """Our opinion may have changed from PENDING."""
        block = self.engine.awaits_judgement()
        judgement = self._judge(block) if block is not None else Judgement.PENDING
        if block is None or judgement is Judgement.PENDING:
            return []
        return self.apply(JudgementEntry.of(block, judgement))

    def apply(self, entry: Entry) -> list[Effect]:
        """Log one verified input and follow it to the end."""
        if self._live:
            self._pen.append(entry)
        effects: list[Effect] = []
        self._run(self._inputs(entry, effects), effects)
        if isinstance(entry, ProposalMessage) and not self.engine.holds_block(entry.proposal.block):
            self._known.pop(entry.proposal.block, None)
        if self._live and self.decision is None:
            effects += self._answer()
        if self.decision is not None:
            effects = [effect for effect in effects if not isinstance(effect, StartTimer)]
        return effects

    # -- questions ----------------------------------------------------------------------------------------------

    def proposal_message(self, round_: int) -> ProposalMessage | None:
        """The proposal of a round with its block and polka, to hand on."""
        proposal = self.engine.proposal(round_)
        known = self._known.get(proposal.block) if proposal is not None else None
        if proposal is None or known is None:
            return None
        return ProposalMessage(proposal, known.message.block, self.polka_of(proposal))

    def polka_of(self, proposal: Proposal) -> Certificate | None:
        """What a re-proposal rests on, as we know it; a liar may claim a round that had a polka for something else."""
        polka = self.engine.tally.certificate(proposal.valid_round, VoteKind.PREVOTE)
        return polka if polka is not None and polka.block == proposal.block else None

    def message_with(self, block: Hash) -> ProposalMessage | None:
        """A proposal that carries this block."""
        known = self._known.get(block)
        return None if known is None else known.message

    def own_messages(self) -> list[VoteMessage | ProposalMessage]:
        """What we have said in this round, to say it again."""
        me, round_ = self.engine.me, self.engine.state.round
        if me is None:
            return []
        proposal = self.proposal_message(round_)
        messages: list[VoteMessage | ProposalMessage] = []
        if proposal is not None and proposal.proposal.proposer == me:
            messages.append(proposal)
        votes = (self.engine.tally.vote_of(me, round_, kind) for kind in VoteKind)
        return messages + [VoteMessage(vote) for vote in votes if vote is not None]

    def why_this_round(self) -> tuple[Vote, ...]:
        """Votes that let others enter our round as well: a quorum of precommits before it, or votes in it."""
        tally, round_ = self.engine.tally, self.engine.state.round
        if round_ > 0 and tally.quorum_of_any(round_ - 1, VoteKind.PRECOMMIT):
            return tally.votes(round_ - 1, VoteKind.PRECOMMIT)
        return tally.votes(round_, VoteKind.PREVOTE) + tally.votes(round_, VoteKind.PRECOMMIT)

    def timers(self) -> list[StartTimer]:
        """Timers of this round that have not fired, to start them again."""
        round_ = self.engine.state.round
        return [StartTimer(timer, delay_ms) for timer, delay_ms in self._timers.items() if timer.round == round_]

    # -- inputs -------------------------------------------------------------------------------------------------

    def _inputs(self, entry: Entry, effects: list[Effect]) -> list[Input]:
        match entry:
            case BeginEntry():
                return [Begin()]
            case TimeoutEntry(kind, round_):
                self._timers.pop(Timer(self.position.height, round_, kind), None)
                return [TimeoutExpired(kind, round_)]
            case JudgementEntry():
                self._wanted_judgement = None
                return [Judged(entry.block, entry.judgement)]
            case RecoveredEntry():
                return [Recovered(entry.round, entry.step, entry.locked_round, entry.locked_block, entry.votes)]
            case VoteMessage(vote):
                return [VoteReceived(vote)]
            case CertificateMessage(certificate):
                return [CertificateReceived(certificate)]
            case ProposalMessage():
                polka: list[Input] = [] if entry.polka is None else [CertificateReceived(entry.polka)]
                return [*polka, self._learn(entry, effects)]
            case OwnBlockEntry(round_, block):
                self._wanted_block = None
                return self._own_proposal(round_, block, NO_ROUND, effects)

    def _learn(self, message: ProposalMessage, effects: list[Effect]) -> ProposalReceived:
        block_hash = message.proposal.block
        known = self._known.get(block_hash)
        if known is None:
            known = _Known(message, self._verdict(message.block, effects))
            self._known[block_hash] = known
        return ProposalReceived(message.proposal, message.block.header.round, known.execution is not None)

    def _verdict(self, block: Block, effects: list[Effect]) -> Execution | None:
        try:
            return verify_block(self._env.application, self.position, block)
        except InvalidBlock as error:
            effects.append(BlockRefused(self.position.height, block.hash, block.header.proposer, str(error)))
            return None

    # -- effects ------------------------------------------------------------------------------------------------

    def _run(self, inputs: list[Input], effects: list[Effect]) -> None:
        queue = deque(inputs)
        while queue and self.decision is None:
            for effect in self.engine.handle(queue.popleft()):
                queue += self._perform(effect, effects)

    def _perform(self, effect: CoreEffect, effects: list[Effect]) -> list[Input]:
        match effect:
            case CastVote():
                return self._cast(effect, effects)
            case Propose(round_, None):
                self._wanted_block = round_
            case Propose(round_, valid):
                assert valid is not None
                return self._own_proposal(round_, self._known[valid.block].message.block, valid.round, effects)
            case NeedJudgement(block):
                self._wanted_judgement = block
            case StartTimer(timer, delay_ms):
                self._timers[timer] = delay_ms
                effects.append(effect)
            case EnteredRound(round_):
                self._entered(round_, effects)
            case Decide():
                self._decide(effect)
            case InvalidCommit(block):
                raise StateError(
                    f"a quorum finalised block {block.hex()} at height {self.position.height},"
                    " which this node finds invalid",
                    hint="compare the software versions of the authorities before starting this node again",
                )
            case Evidence() | ScoreOverridden():
                effects.append(effect)
        return []

    def _cast(self, cast: CastVote, effects: list[Effect]) -> list[Input]:
        try:
            vote = self._pen.vote(cast)
        except WouldDoubleSign as error:
            effects.append(SigningRefused(self.position.height, cast.round, str(error)))
            return []
        effects.append(Broadcast(VoteMessage(vote)))
        return [VoteReceived(vote)]

    def _own_proposal(self, round_: int, block: Block, valid_round: int, effects: list[Effect]) -> list[Input]:
        try:
            proposal = self._pen.proposal(round_, block.hash, valid_round)
        except WouldDoubleSign as error:
            effects.append(SigningRefused(self.position.height, round_, str(error)))
            return []
        polka = None if valid_round == NO_ROUND else self.engine.tally.certificate(valid_round, VoteKind.PREVOTE)
        message = ProposalMessage(proposal, block, polka)
        effects.append(Broadcast(message))
        return [self._learn(message, effects)]

    def _entered(self, round_: int, effects: list[Effect]) -> None:
        if round_ == 0:
            return
        self._timers = {timer: delay_ms for timer, delay_ms in self._timers.items() if timer.round >= round_}
        self._tell_application()
        for block in self.engine.forget_blocks():
            self._known.pop(block, None)
        votes = self.why_this_round()
        if votes:
            effects.append(Broadcast(VotesMessage(votes)))
        valid = self.engine.state.valid
        if valid is None:
            return
        polka = self.engine.tally.certificate(valid.round, VoteKind.PREVOTE)
        assert polka is not None
        effects.append(Broadcast(CertificateMessage(polka)))
        if round_ >= HIDDEN_LOCK_ROUND:
            effects.append(Broadcast(self._known[valid.block].message))

    def _tell_application(self) -> None:
        """Only of this node's own valid proposal: others could otherwise list anything and make everybody back off."""
        first = self.proposal_message(0)
        if first is None or self._told_application or first.proposal.proposer != self.engine.me:
            return
        if self._known[first.proposal.block].execution is None:
            return
        self._told_application = True
        if isinstance(self._env.application, LearnsFromFailure):
            self._env.application.on_attempt_failed(self.position.height, first.block.body)

    def _decide(self, decide: Decide) -> None:
        known = self._known[decide.block]
        certificate = self.engine.tally.certificate(decide.round, VoteKind.PRECOMMIT)
        assert known.execution is not None
        assert certificate is not None
        self.decision = FinalBlock(known.message.block, certificate), known.execution

    # -- what the core waits for --------------------------------------------------------------------------------

    def _answer(self) -> list[Effect]:
        round_, block = self._wanted_block, self._wanted_judgement
        if round_ is not None and (round_, Step.PROPOSE) == (self.engine.state.round, self.engine.state.step):
            self._wanted_block = None
            return self.apply(OwnBlockEntry(round_, self._build(round_)))
        if block is not None:
            self._wanted_judgement = None
            return self.apply(JudgementEntry.of(block, self._judge(block)))
        return []

    def _build(self, round_: int) -> Block:
        assert self._env.key is not None
        block, _ = build_block(
            self._env.application,
            self.position,
            round_=round_,
            time_ms=max(self._env.clock(), self.position.time_ms_min),
            proposer=self._env.key.address,
            candidates=self._env.candidates(),
        )
        return block

    def _judge(self, block_hash: Hash) -> Judgement:
        block = self._known[block_hash].message.block
        header = block.header
        distance_ms = abs(header.time_ms - self._env.clock())
        # Our own header came from our own clock, pushed forward at most by the minimum interval.
        if header.proposer != self.engine.me and distance_ms > self.position.rules.parameters.clock_bound_ms:
            return Judgement.INVALID
        context = self.position.context(round_=header.round, time_ms=header.time_ms, proposer=header.proposer)
        return self._env.application.judge(self.position.state, context, block.body)
