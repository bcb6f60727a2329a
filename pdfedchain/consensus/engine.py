"""The core of one height: what is known, and in which order the rules are tried.

It multiplexes proposals, verdicts, votes, certificates and timers into the rules of
`pdfedchain.consensus.round_machine`. No clock, no network, no keys: inputs in, effects out, and equal inputs give
equal effects, which is what replay after a crash rests on.

After every input the rules are tried in this order, and again from the top after each one that fires, until none
does::

    rule   needs                                                     own opinion (`Judgement`) of the block
    L49    block structurally valid, quorum of precommits, any round  overridden
    L55    f+1 senders in a higher round                              -
    L11    the round has not started                                  -
    L28    re-proposal, block known, polka in its valid round         overridden
    L22    fresh proposal, block known                                VALID prevotes it, INVALID nil,
                                                                      PENDING waits for the time-out, or for
                                                                      any polka in this round, and abstains;
                                                                      who does not vote is not asked
    L36    block structurally valid, polka in this or earlier round   overridden
    L44    quorum of prevotes for nil                                 -
    L34    quorum of prevotes                                         -
    L47    quorum of precommits                                       -

"Overridden" with an opinion of INVALID also reports `ScoreOverridden`, once. A structurally invalid block is never
prevoted, locked or decided, whatever the others do.

A polka or a commit is looked up by block, not by proposal: with an equivocating proposer the proposal that came
first need not be the one that won, and a quorum of prevotes holds enough honest ones that saw a proposal for it.

A proposal is *fresh* iff its valid round is `NO_ROUND`; then the header's round must be the proposal's. A
re-proposal leaves the block as it is, so the header's round is at most the valid round, which is below the
proposal's. What does not fit is prevoted nil.

Bounds: one proposal per round (a second one is evidence, and kept only if a quorum voted for its block), rounds up
to `FUTURE_ROUNDS_MAX` ahead, blocks without a quorum of `PAST_ROUNDS_KEPT` rounds gone by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from pdfedchain.application import Judgement
from pdfedchain.consensus import round_machine as machine
from pdfedchain.consensus.effects import (
    CoreEffect,
    Decide,
    EnteredRound,
    Evidence,
    InvalidCommit,
    NeedJudgement,
    ScoreOverridden,
    StartTimer,
    ValueAt,
)
from pdfedchain.consensus.inputs import (
    Begin,
    CertificateReceived,
    Input,
    Judged,
    ProposalReceived,
    Recovered,
    TimeoutExpired,
    Timer,
    TimerKind,
    VoteReceived,
)
from pdfedchain.consensus.round_machine import RoundState, Schedule, Step, Transition
from pdfedchain.consensus.rules import Rule
from pdfedchain.consensus.tally import FUTURE_ROUNDS_MAX, Tally
from pdfedchain.ids import Address, Hash
from pdfedchain.types.authorities import AuthoritySet
from pdfedchain.types.genesis import ChainParameters
from pdfedchain.types.vote import NO_ROUND, Proposal, VoteKind

__all__ = ["PAST_ROUNDS_KEPT", "Engine", "timeout_ms"]

#: Rounds gone by whose blocks are kept although no quorum is known to have voted for them.
PAST_ROUNDS_KEPT: Final = 8


def timeout_ms(parameters: ChainParameters, kind: TimerKind, round_: int) -> int:
    """Length of one of the paper's timers: doubled each round, capped."""
    base = {
        TimerKind.PROPOSE: parameters.timeout_propose_ms,
        TimerKind.PREVOTE: parameters.timeout_prevote_ms,
        TimerKind.PRECOMMIT: parameters.timeout_precommit_ms,
    }[kind]
    return max(base, min(base << min(round_, 32), parameters.timeout_max_ms))


@dataclass(frozen=True, slots=True)
class _Held:
    """The proposal of a round and whether its block fits it (freshness, structure)."""

    proposal: Proposal
    acceptable: bool


class Engine:
    """Decides one block of one height.

    Args:
        me: our address; ``None``, or not a member, to follow without voting or proposing.
        trace: told of every branch taken.
    """

    def __init__(
        self,
        *,
        height: int,
        authorities: AuthoritySet,
        parameters: ChainParameters,
        me: Address | None,
        trace: Callable[[Rule], None] | None = None,
    ) -> None:
        self.height = height
        self.authorities = authorities
        self.parameters = parameters
        self.me = me if me is not None and me in authorities else None
        self.state = RoundState()
        self.begun = False
        self.tally = Tally(authorities)
        self._proposals: dict[int, _Held] = {}
        self._accused_rounds: set[int] = set()
        self._blocks: dict[Hash, bool] = {}
        self._judgements: dict[Hash, Judgement] = {}
        self._asked: set[Hash] = set()
        self._trace = trace
        self._overridden: set[Hash] = set()

    # -- questions of the replica -------------------------------------------------------------------------------

    @property
    def decided(self) -> bool:
        return self.state.step is Step.DECIDED

    def proposal(self, round_: int) -> Proposal | None:
        """The proposal of a round, if one has been accepted."""
        held = self._proposals.get(round_)
        return None if held is None else held.proposal

    def awaits_judgement(self) -> Hash | None:
        """The block whose judgement would be acted upon now; asked again when an opinion may have changed."""
        held = self._proposals.get(self.state.round)
        if self.state.step is not Step.PROPOSE or held is None or held.proposal.valid_round != NO_ROUND:
            return None
        block = held.proposal.block
        return block if held.acceptable and self._judgements.get(block) is Judgement.PENDING else None

    def wants_proposal(self, proposal: Proposal) -> bool:
        """Whether it would change anything."""
        if self.wants_block(proposal.block):
            return True
        if proposal.round > self.state.round + FUTURE_ROUNDS_MAX:
            return False
        held = self._proposals.get(proposal.round)
        if held is None:
            return proposal.round >= self.state.round
        return _contradict(held.proposal, proposal) and proposal.round not in self._accused_rounds

    def wants_block(self, block: Hash) -> bool:
        """Whether a quorum voted for a block that is not here."""
        return block not in self._blocks and any(value.block == block for value in self._backed())

    def wanted(self) -> Hash | None:
        """A block that `wants_block`, the newest."""
        return next((value.block for value in self._backed() if value.block not in self._blocks), None)

    def holds_block(self, block: Hash) -> bool:
        """Whether a block is kept, as it is unless it came with a second proposal for a round."""
        return block in self._blocks

    def forget_blocks(self) -> set[Hash]:
        """Drop blocks of rounds long gone by that no quorum voted for. Should one win after all, it is wanted again."""
        oldest = self.state.round - PAST_ROUNDS_KEPT
        recent = {held.proposal.block for round_, held in self._proposals.items() if round_ >= oldest}
        kept = recent | {value.block for value in self._backed()}
        kept |= {value.block for value in (self.state.locked, self.state.valid) if value is not None}
        self._proposals = {
            round_: held for round_, held in self._proposals.items() if round_ >= oldest or held.proposal.block in kept
        }
        gone = set(self._blocks) - kept
        self._blocks = {block: valid for block, valid in self._blocks.items() if block in kept}
        return gone

    def _backed(self) -> list[ValueAt]:
        return self.tally.commits() + self.tally.polkas()

    # -- the transition -----------------------------------------------------------------------------------------

    def handle(self, given: Input) -> list[CoreEffect]:
        """Take one input; return what is to be done, in order."""
        if self.decided:
            return []
        effects: list[CoreEffect] = []
        match given:
            case Begin():
                self.begun = True
            case Recovered():
                effects += self._recover(given)
            case ProposalReceived():
                effects += self._take_proposal(given)
            case Judged(block, judgement):
                self._take_judgement(block, judgement)
            case VoteReceived(vote):
                _, evidence = self.tally.add(vote, current_round=self.state.round)
                effects += [evidence] if evidence is not None else []
            case CertificateReceived(certificate):
                effects += self.tally.add_certificate(certificate, current_round=self.state.round)
            case TimeoutExpired(kind, round_):
                effects += self._take_timeout(kind, round_)
        return effects + self._evaluate()

    def _take_proposal(self, given: ProposalReceived) -> list[CoreEffect]:
        proposal = given.proposal
        effects: list[CoreEffect] = []
        self.tally.saw(proposal.proposer, proposal.round)
        held = self._proposals.get(proposal.round)
        if held is None or self.wants_block(proposal.block):
            self._blocks.setdefault(proposal.block, given.block_valid)
        if held is None:
            fits = _fits(proposal, given.header_round) and given.block_valid
            self._proposals[proposal.round] = _Held(proposal, fits)
        elif _contradict(held.proposal, proposal) and proposal.round not in self._accused_rounds:
            self._accused_rounds.add(proposal.round)
            effects.append(Evidence(proposal.proposer, held.proposal, proposal))
        return effects

    def _recover(self, given: Recovered) -> list[CoreEffect]:
        self.begun = True
        for vote in given.votes:
            self.tally.add(vote, current_round=given.round)
        locked = None
        if given.locked_round is not None and given.locked_block is not None:
            locked = ValueAt(given.locked_round, given.locked_block)
        return self._apply(machine.recovered(given.round, Step(given.step + 1), locked))

    def _take_judgement(self, block: Hash, judgement: Judgement) -> None:
        # Work that ends may turn PENDING into a verdict; a verdict once given stays, so that replay and restart
        # cannot make us argue with our own vote.
        if self._judgements.get(block, Judgement.PENDING) is Judgement.PENDING:
            self._judgements[block] = judgement

    def _take_timeout(self, kind: TimerKind, round_: int) -> list[CoreEffect]:
        rules = {
            TimerKind.PROPOSE: machine.timeout_propose,
            TimerKind.PREVOTE: machine.timeout_prevote,
            TimerKind.PRECOMMIT: machine.timeout_precommit,
        }
        return self._apply(rules[kind](self.state, round_))

    def _evaluate(self) -> list[CoreEffect]:
        effects: list[CoreEffect] = []
        while not self.decided:
            fired = next((done for done in self._attempts() if done is not None), None)
            if fired is None:
                break
            effects += fired
        return effects

    def _attempts(self) -> Iterator[list[CoreEffect] | None]:
        """Each rule in order: its effects if it fired, else ``None``. Evaluated lazily."""
        yield self._l49_commit()
        if not self.begun:
            return
        yield self._applied(machine.round_skip(self.state, self.tally.reached_by_honest()))
        yield self._l11_start()
        yield self._l28_re_proposal()
        yield self._l22_fresh_proposal()
        yield self._l36_polka()
        yield self._l36_earlier_polka()
        yield self._l44_polka_nil()
        if self.tally.quorum_of_any(self.state.round, VoteKind.PREVOTE):
            yield self._applied(machine.prevotes_of_any(self.state))
        if self.tally.quorum_of_any(self.state.round, VoteKind.PRECOMMIT):
            yield self._applied(machine.precommits_of_any(self.state))

    # -- the conditions of the rules ----------------------------------------------------------------------------

    def _l49_commit(self) -> list[CoreEffect] | None:
        for value in self.tally.commits():
            if self._blocks.get(value.block) is False and value.block not in self._overridden:
                self._overridden.add(value.block)
                return [InvalidCommit(value.block)]
            if self._blocks.get(value.block):
                overridden = self._override(value.block)
                return overridden + self._apply(machine.commit_quorum(self.state, value.round, value.block))
        return None

    def _l11_start(self) -> list[CoreEffect] | None:
        if self.state.step is not Step.NEW:
            return None
        proposer = self.me is not None and self.authorities.proposer(self.height, self.state.round) == self.me
        entered: list[CoreEffect] = [EnteredRound(self.state.round)]
        return entered + self._apply(machine.start_round(self.state, proposer=proposer))

    def _l28_re_proposal(self) -> list[CoreEffect] | None:
        held = self._proposals.get(self.state.round)
        if held is None or self.state.step is not Step.PROPOSE or held.proposal.valid_round == NO_ROUND:
            return None
        proposal = held.proposal
        if held.acceptable and self.tally.quorum(proposal.valid_round, VoteKind.PREVOTE) != (proposal.block,):
            return None
        done = self._applied(
            machine.re_proposal(self.state, proposal.block, proposal.valid_round, valid=held.acceptable)
        )
        return done if done is None or not held.acceptable else self._override(proposal.block) + done

    def _l22_fresh_proposal(self) -> list[CoreEffect] | None:
        held = self._proposals.get(self.state.round)
        if held is None or self.state.step is not Step.PROPOSE or held.proposal.valid_round != NO_ROUND:
            return None
        block = held.proposal.block
        hopeless = not held.acceptable or (self.state.locked is not None and self.state.locked.block != block)
        if hopeless:
            return self._applied(machine.fresh_proposal(self.state, block, acceptable=False))
        judgement = self._judgements.get(block) if self.me is not None else Judgement.VALID
        if judgement is None:
            if block in self._asked:
                return None
            self._asked.add(block)
            return [NeedJudgement(block)]
        if judgement is Judgement.PENDING and self.tally.quorum(self.state.round, VoteKind.PREVOTE) is None:
            return None
        return self._applied(machine.fresh_proposal(self.state, block, acceptable=judgement is Judgement.VALID))

    def _l36_polka(self) -> list[CoreEffect] | None:
        quorum = self.tally.quorum(self.state.round, VoteKind.PREVOTE)
        if quorum is None or quorum[0] is None or not self._blocks.get(quorum[0]):
            return None
        done = self._applied(machine.polka(self.state, quorum[0]))
        return done if done is None else self._override(quorum[0]) + done

    def _l36_earlier_polka(self) -> list[CoreEffect] | None:
        known = (v for v in self.tally.polkas() if v.round < self.state.round and self._blocks.get(v.block))
        newest = next(known, None)
        return None if newest is None else self._applied(machine.earlier_polka(self.state, newest))

    def _l44_polka_nil(self) -> list[CoreEffect] | None:
        if self.tally.quorum(self.state.round, VoteKind.PREVOTE) != (None,):
            return None
        return self._applied(machine.polka_nil(self.state))

    # -- within -------------------------------------------------------------------------------------------------

    def _override(self, block: Hash) -> list[CoreEffect]:
        if self._judgements.get(block) is not Judgement.INVALID or block in self._overridden:
            return []
        self._overridden.add(block)
        return [ScoreOverridden(self.height, block)]

    def _applied(self, transition: Transition | None) -> list[CoreEffect] | None:
        return None if transition is None else self._apply(transition)

    def _apply(self, transition: Transition | None) -> list[CoreEffect]:
        if transition is None:
            return []
        self.state = transition.state
        if self._trace is not None:
            self._trace(transition.rule)
        effects: list[CoreEffect] = []
        for output in transition.outputs:
            if isinstance(output, Schedule):
                delay_ms = timeout_ms(self.parameters, output.kind, output.round)
                effects.append(StartTimer(Timer(self.height, output.round, output.kind), delay_ms))
            elif isinstance(output, Decide) or self.me is not None:
                effects.append(output)
        return effects


def _fits(proposal: Proposal, header_round: int) -> bool:
    if proposal.valid_round == NO_ROUND:
        return header_round == proposal.round
    return header_round <= proposal.valid_round < proposal.round


def _contradict(first: Proposal, second: Proposal) -> bool:
    # One statement signed twice, with two signatures, is no contradiction.
    return (first.block, first.valid_round) != (second.block, second.valid_round)
