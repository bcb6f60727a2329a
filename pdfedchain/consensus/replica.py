"""A replica: height after height of consensus, without a network, a clock or a thread.

Whoever drives it (`node.driver`, the simulator, `pdfedchain.chain`) calls one method per happening, from one
thread, and executes the effects it returns, in order::

    replica = Replica(application=..., store=..., log=..., signer=..., key=..., clock=..., candidates=...)
    effects = replica.start()                       # replays the log, resumes where it was
    effects = replica.on_message(message, peer)     # body of a decoded ConsensusMessage
    effects = replica.on_timeout(timer)             # a StartTimer's delay has passed
    effects = replica.on_transactions_waiting()     # call again after every Committed while some are waiting
    effects = replica.on_judgement_changed()        # Application.judge may answer differently now
    effects = replica.on_peer_connected(peer)       # tells the neighbour where we are
    replica.begin_sync(); effects = replica.apply_synced(final) ...; effects = replica.end_sync()

The store must hold its genesis (`Store.initialise`). Without ``key`` and ``signer`` the replica follows and never
signs; so it does while its key is no authority.

When heights start is told in `pdfedchain.consensus.pacing`; what repairs lost messages in
`pdfedchain.consensus.repair`. A node syncs or votes, never both: between `begin_sync` and `end_sync` messages and
timers are ignored and nothing is signed; locks and log stay as they are.

Faults of a neighbour are raised as `InputError`; the replica has not changed. `StateError` means stop: the disk
failed, or a quorum finalised what this program finds invalid. So does the effect `Stop`: the next block is of a
version that this program does not know; what was decided before is stored and told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pdfedchain.application import Application, Execution
from pdfedchain.consensus.blocks import Position, position_after, position_of, verify_block
from pdfedchain.consensus.checks import (
    SignatureCheck,
    check_certificate,
    check_final,
    check_proposal,
    check_signature,
    check_vote,
)
from pdfedchain.consensus.effects import (
    BehindPeer,
    Broadcast,
    Committed,
    Effect,
    PeerFault,
    Relay,
    SendTo,
    StartTimer,
    Stop,
)
from pdfedchain.consensus.height import Environment, HeightRun
from pdfedchain.consensus.inbox import Inbox
from pdfedchain.consensus.inputs import Timer, TimerKind
from pdfedchain.consensus.messages import (
    CertificateMessage,
    FinalBlockMessage,
    Message,
    ProposalMessage,
    RoundStatus,
    VoteMessage,
    VotesMessage,
)
from pdfedchain.consensus.pacing import pace
from pdfedchain.consensus.ports import BlockStore, Log, Signer
from pdfedchain.consensus.repair import Answers, status_of
from pdfedchain.consensus.rules import Rule
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InputError, InvalidBlock, StateError, UnsupportedVersion
from pdfedchain.types.block import FinalBlock
from pdfedchain.types.vote import Certificate, Vote

__all__ = ["Replica"]

#: How often a node in a round says again what it said and where it is.
REBROADCAST_MS: Final = 1_000

_Effects = tuple[Effect, ...]


class Replica:
    """See the module's text.

    Args:
        clock: milliseconds since the Unix epoch.
        candidates: encoded transactions for a block of ours, best first.
        signature: verifies one signature; replaced by the simulator only.
        trace: told of every branch of the algorithm that is taken.

    Raises:
        StateError: the store holds no genesis, or a key comes without a signer record.
        UnsupportedVersion: the next block is of a version that this program does not know.
    """

    def __init__(
        self,
        *,
        application: Application,
        store: BlockStore,
        log: Log,
        signer: Signer | None,
        key: SigningKey | None,
        clock: Callable[[], int],
        candidates: Callable[[], Sequence[bytes]] = tuple,
        signature: SignatureCheck = check_signature,
        trace: Callable[[Rule], None] | None = None,
    ) -> None:
        genesis = store.genesis()
        if genesis is None:
            raise StateError("the store holds no chain yet", hint="initialise it with the genesis first")
        if (signer is None) != (key is None):
            raise StateError("a signing key and its signer record come together or not at all")
        self._env = Environment(application, log, signer, key, clock, candidates, trace)
        self._store = store
        self._signature = signature
        self._inbox = Inbox()
        self._answers = Answers(clock, store)
        self._syncing = False
        self._stopped: UnsupportedVersion | None = None
        self._reason = False
        self._paced: TimerKind | None = None
        self._run = HeightRun(self._env, position_of(application, genesis, store))
        self._deadline_open = False

    # -- where it is --------------------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """The height being decided: one above the last final block."""
        return self._run.position.height

    @property
    def round(self) -> int:
        return self._run.engine.state.round

    @property
    def step(self) -> str:
        """``new``, ``propose``, ``prevote``, ``precommit`` or ``decided``."""
        return self._run.engine.state.step.name.lower()

    @property
    def position(self) -> Position:
        """State, parent and authorities that the next block builds on."""
        return self._run.position

    @property
    def syncing(self) -> bool:
        return self._syncing

    def status(self) -> RoundStatus:
        """What we tell neighbours about ourselves."""
        return status_of(self._run)

    # -- happenings ---------------------------------------------------------------------------------------------

    def start(self) -> _Effects:
        """Replay the log and go on from there. Call once, first."""
        return tuple(self._enter())

    def produce(self) -> _Effects:
        """Start this height now, whatever the pacing says. A chain of one authority decides it in this call.

        Raises:
            UnsupportedVersion: this program cannot execute it.
        """
        if self._stopped is not None:
            raise self._stopped
        return () if self._syncing else self._settled(self._begin())

    def on_message(self, message: Message, peer: str) -> _Effects:
        """A neighbour's message.

        Raises:
            InputError: no honest node sends this; nothing has changed.
        """
        if self._syncing:
            return ()
        match message:
            case ProposalMessage():
                return self._when_current(message.proposal.height, message.proposal.round, message, peer)
            case VoteMessage(vote):
                return self._when_current(vote.height, vote.round, message, peer)
            case VotesMessage(votes):
                return tuple(self._each([(peer, VoteMessage(vote)) for vote in votes]))
            case CertificateMessage(certificate):
                return self._when_current(certificate.height, certificate.round, message, peer)
            case FinalBlockMessage(final):
                return self.on_final_block(final, peer)
            case RoundStatus():
                return self._on_status(message, peer)

    def on_final_block(self, final: FinalBlock, peer: str) -> _Effects:
        """A final block from a neighbour, sent or announced.

        Raises:
            InputError: its certificate does not prove it; nothing has changed.
        """
        height = final.block.header.height
        if self._syncing or height < self.height:
            return ()
        if height > self.height:
            return (BehindPeer(peer, height),)
        return self.apply_synced(final)

    def on_timeout(self, timer: Timer) -> _Effects:
        """A timer has fired; stale ones are harmless."""
        if self._syncing or timer.height != self.height:
            return ()
        if timer.kind in (TimerKind.INTERVAL, TimerKind.HEARTBEAT):
            self._paced = None
            return self._settled(self._pace(heartbeat_due=timer.kind is TimerKind.HEARTBEAT))
        if timer.kind is TimerKind.REBROADCAST:
            return tuple(self._repeat())
        return self._settled(self._run.on_timer(timer))

    def on_transactions_waiting(self) -> _Effects:
        """There are transactions for a block. Forgotten with every committed block, so say it again."""
        self._reason = True
        return () if self._syncing else self._settled(self._pace())

    def on_judgement_changed(self) -> _Effects:
        """What the application answers to `Application.judge` may have changed."""
        return () if self._syncing else self._settled(self._run.judge_again())

    def on_peer_connected(self, peer: str) -> _Effects:
        """Tell a new neighbour where we are."""
        return (SendTo(peer, self.status()),)

    def begin_sync(self) -> None:
        """Stop voting until `end_sync`."""
        self._syncing = True

    def apply_synced(self, final: FinalBlock) -> _Effects:
        """Check, execute and keep the next final block.

        Raises:
            InputError: its certificate does not prove it; nothing has changed.
            StateError: a quorum finalised a block that this program finds invalid.
        """
        check_final(final, self.position, self._signature)
        try:
            execution = verify_block(self._env.application, self.position, final.block)
        except InvalidBlock as error:
            raise StateError(
                f"a quorum finalised block {final.block.hash.hex()} at height {self.height}, invalid here: {error}",
                hint="compare the software versions of the authorities before starting this node again",
            ) from error
        return self._settled(self._commit(final, execution))

    def end_sync(self) -> _Effects:
        """Vote again from here."""
        if self._stopped is not None:
            return ()
        self._syncing = False
        return self._settled(self._resume_height())

    # -- messages of this height --------------------------------------------------------------------------------

    def _when_current(
        self, height: int, round_: int, message: ProposalMessage | VoteMessage | CertificateMessage, peer: str
    ) -> _Effects:
        if height < self.height:
            return ()
        if height > self.height:
            if height == self.height + 1:
                self._inbox.put(peer, message)
            # In a round of our own the next repetition asks for what we lack; an idle height has none.
            return () if self._run.engine.begun else tuple(self._answers.to(peer, lambda: [self.status()]))
        match message:
            case ProposalMessage():
                effects = self._on_proposal(message, peer)
            case VoteMessage(vote):
                effects = self._on_vote(vote, peer)
            case CertificateMessage(certificate):
                effects = self._on_certificate(certificate, peer)
        if not effects:
            return ()
        self._reason = True
        at_once = round_ > 0 or isinstance(message, ProposalMessage)
        return self._settled(effects + (self._begin() if at_once else self._pace()))

    def _on_vote(self, vote: Vote, peer: str) -> list[Effect]:
        check_vote(vote, self.position)
        if self._run.decision or not self._run.engine.tally.news(vote, current_round=self.round):
            return []
        self._signature(vote)
        return [Relay(peer, VoteMessage(vote)), *self._run.apply(VoteMessage(vote))]

    def _on_certificate(self, certificate: Certificate, peer: str) -> list[Effect]:
        if self._run.engine.tally.quorum(certificate.round, certificate.kind) is not None:
            return []
        check_certificate(certificate, self.position, self._signature)
        message = CertificateMessage(certificate)
        return [Relay(peer, message), *self._run.apply(message)]

    def _on_proposal(self, message: ProposalMessage, peer: str) -> list[Effect]:
        proposal, polka = message.proposal, message.polka
        check_proposal(message, self.position)
        tally = self._run.engine.tally
        polka_is_news = polka is not None and tally.quorum(polka.round, polka.kind) is None
        if not polka_is_news and not self._run.engine.wants_proposal(proposal):
            return []
        self._signature(proposal)
        if polka is not None and polka_is_news:
            check_certificate(polka, self.position, self._signature)
        else:
            # What is known is not checked again, so it is not taken as it comes either.
            message = replace(message, polka=self._run.polka_of(proposal))
        return [Relay(peer, message), *self._run.apply(message)]

    def _on_status(self, status: RoundStatus, peer: str) -> _Effects:
        if status.height > self.height + 1:
            return (BehindPeer(peer, status.height - 1),)
        effects = self._answers.to_status(peer, status, self._run)
        if status.height == self.height and status.begun and not self._run.engine.begun:
            self._reason = True
            return self._settled(effects + self._pace())
        return tuple(effects)

    def _pace(self, *, heartbeat_due: bool = False) -> list[Effect]:
        engine = self._run.engine
        if engine.begun or self._run.decision is not None:
            return []
        wait = pace(
            self.position.rules.parameters,
            parent_time_ms=self.position.parent_time_ms,
            now_ms=self._env.clock(),
            reason=self._reason or heartbeat_due,
            deadline_open=self._deadline_open,
        )
        if wait is None:
            return self._begin()
        if wait.kind is self._paced:
            return []
        self._paced = wait.kind
        return [StartTimer(Timer(self.height, 0, wait.kind), wait.delay_ms)]

    def _begin(self) -> list[Effect]:
        if self._run.engine.begun or self._run.decision is not None:
            return []
        effects = self._run.begin()
        return effects if self._run.decision is not None else [*effects, self._rebroadcast_timer()]

    def _rebroadcast_timer(self) -> StartTimer:
        return StartTimer(Timer(self.height, 0, TimerKind.REBROADCAST), REBROADCAST_MS)

    def _repeat(self) -> list[Effect]:
        # A lost proposal is pulled by those who lack it: their status says so.
        votes = [message for message in self._run.own_messages() if isinstance(message, VoteMessage)]
        return [*map(Broadcast, votes), Broadcast(self.status()), self._rebroadcast_timer()]

    def _resume_height(self) -> list[Effect]:
        """Timers and messages of a height that may be under way already."""
        if not self._run.engine.begun:
            self._paced = None
            return self._pace()
        own = map(Broadcast, self._run.own_messages())
        return [*own, Broadcast(self.status()), *self._run.timers(), self._rebroadcast_timer()]

    def _enter(self) -> list[Effect]:
        """Everything that happens on arriving at a height."""
        self._reason, self._paced = False, None
        self._deadline_open = self._env.application.has_open_deadline(self.position.state)
        effects = self._run.resume()
        if self._run.decision is None and not self._syncing:
            effects += self._resume_height()
        effects = list(self._settled(effects))
        return effects if self._syncing else effects + self._each(self._inbox.drain())

    def _each(self, messages: Sequence[tuple[str, Message]]) -> list[Effect]:
        """Several messages. A fault becomes an effect, lest what others did be lost, and ends that neighbour's turn."""
        effects: list[Effect] = []
        at_fault: set[str] = set()
        for peer, message in messages:
            if peer not in at_fault:
                try:
                    effects += self.on_message(message, peer)
                except InputError as error:
                    at_fault.add(peer)
                    effects.append(PeerFault(peer, str(error)))
        return effects

    def _settled(self, effects: list[Effect]) -> _Effects:
        """Commit what has been decided on the way."""
        while self._run.decision is not None and self._stopped is None:
            effects += self._commit(*self._run.decision)
        return tuple(effects)

    def _commit(self, final: FinalBlock, execution: Execution) -> list[Effect]:
        self._store.commit(final, execution)
        try:
            position = position_after(self._env.application, self.position.genesis, final, execution)
        except UnsupportedVersion as error:
            self._stopped, self._syncing = error, True
            return [Committed(final, execution), Stop(error)]
        self._run = HeightRun(self._env, position)
        return [Committed(final, execution), *self._enter()]
