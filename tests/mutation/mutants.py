"""The bugs: what of the source is replaced by what, and a test that must fail then."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MUTANTS", "Mutant"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug.

    Attributes:
        name: what the bug does.
        path: below ``pdfedchain``.
        old: text that is in the file exactly once.
        new: what stands there instead.
        test: id of a test, or a file of tests, below ``tests/pdfedchain``, that fails then.
    """

    name: str
    path: str
    old: str
    new: str
    test: str


MACHINE = "consensus/round_machine.py"
ENGINE = "consensus/engine.py"
TALLY = "consensus/tally.py"
HEIGHT = "consensus/height.py"
REPLICA = "consensus/replica.py"
PEN = "consensus/pen.py"

MUTANTS = (
    Mutant(
        "no lock is taken with a polka",
        MACHINE,
        "step=Step.PRECOMMIT, locked=value, valid=value, polka_seen=True",
        "step=Step.PRECOMMIT, valid=value, polka_seen=True",
        "consensus/test_round_machine.py::test_l37_a_polka_while_prevoting_locks_and_precommits",
    ),
    Mutant(
        "a polka for nil unlocks",
        MACHINE,
        "return _precommit_nil(Rule.L44, state)",
        "return _precommit_nil(Rule.L44, replace(state, locked=None))",
        "consensus/test_engine.py::test_a_node_that_precommitted_nil_keeps_its_lock",
    ),
    Mutant(
        "a new round forgets the lock",
        MACHINE,
        "replace(state, step=Step.PROPOSE, polka_seen=False,",
        "replace(state, step=Step.PROPOSE, locked=None, polka_seen=False,",
        "consensus/test_round_machine.py::test_l11_a_new_round_forgets_what_fired_in_the_last_but_neither_lock_nor_valid_value",
    ),
    Mutant(
        "a fresh proposal is prevoted against the lock",
        MACHINE,
        "free = state.locked is None or state.locked.block == block\n    return _prevote(Rule.L24",
        "free = True\n    return _prevote(Rule.L24",
        "consensus/test_round_machine.py::test_l26_any_other_fresh_proposal_is_prevoted_nil",
    ),
    Mutant(
        "a re-proposal with a polka older than the lock is prevoted",
        MACHINE,
        "state.locked.round <= valid_round or",
        "state.locked.round >= valid_round or",
        "consensus/test_round_machine.py::test_l30_a_re_proposal_is_prevoted_unless_another_value_was_locked_since",
    ),
    Mutant(
        "a polka after precommitting leaves the valid value as it was",
        MACHINE,
        "return Transition(Rule.L42, replace(state, valid=value, polka_seen=True))",
        "return Transition(Rule.L42, replace(state, polka_seen=True))",
        "consensus/test_round_machine.py::test_l42_a_polka_after_precommitting_sets_the_valid_value_only",
    ),
    Mutant(
        "a late polka of an earlier round is not the value to propose",
        MACHINE,
        "return Transition(Rule.L42_LATE, replace(state, valid=value))",
        "return None",
        "consensus/test_engine.py::test_a_hidden_lock_is_mended_by_a_late_polka",
    ),
    Mutant(
        "a late polka of an earlier round locks",
        MACHINE,
        "return Transition(Rule.L42_LATE, replace(state, valid=value))",
        "return Transition(Rule.L42_LATE, replace(state, valid=value, locked=value))",
        "consensus/test_round_machine.py::test_l36_late_an_earlier_polka_sets_the_valid_value_and_never_the_lock",
    ),
    Mutant(
        "the prevote time-out of an earlier round counts",
        MACHINE,
        "if state.step is not Step.PREVOTE or round_ != state.round:",
        "if state.step is not Step.PREVOTE:",
        "consensus/test_round_machine.py::test_time_outs_are_guarded_by_round",
    ),
    Mutant(
        "the precommit time-out of an earlier round counts",
        MACHINE,
        "if state.step in (Step.NEW, Step.DECIDED) or round_ != state.round:",
        "if state.step in (Step.NEW, Step.DECIDED):",
        "consensus/test_round_machine.py::test_time_outs_are_guarded_by_round",
    ),
    Mutant(
        "a quorum is two thirds, not more",
        "types/authorities.py",
        "return 3 * count > 2 * len(self.members)",
        "return 3 * count >= 2 * len(self.members)",
        "consensus/test_tally.py::test_a_quorum_is_more_than_two_thirds",
    ),
    Mutant(
        "any polka will do for a re-proposal",
        ENGINE,
        "self.tally.quorum(proposal.valid_round, VoteKind.PREVOTE) != (proposal.block,)",
        "self.tally.quorum(proposal.valid_round, VoteKind.PREVOTE) is None",
        "consensus/test_engine.py::test_a_polka_for_another_block_or_of_another_round_is_not_that_of_the_re_proposal",
    ),
    Mutant(
        "the polka of the round before will do for a re-proposal",
        ENGINE,
        "self.tally.quorum(proposal.valid_round, VoteKind.PREVOTE) != (proposal.block,)",
        "self.tally.quorum(proposal.round - 1, VoteKind.PREVOTE) != (proposal.block,)",
        "consensus/test_engine.py::test_a_polka_for_another_block_or_of_another_round_is_not_that_of_the_re_proposal",
    ),
    Mutant(
        "a commit decides in the present round only",
        ENGINE,
        "for value in self.tally.commits():\n",
        "for value in (one for one in self.tally.commits() if one.round == self.state.round):\n",
        "consensus/test_engine.py::test_a_commit_of_an_earlier_round_decides",
    ),
    Mutant(
        "an invalid block with a commit is decided",
        ENGINE,
        "            if self._blocks.get(value.block):\n",
        "            if value.block in self._blocks:\n",
        "consensus/test_engine.py::test_a_commit_of_an_invalid_block_is_reported_once_and_never_followed",
    ),
    Mutant(
        "a verdict may change",
        ENGINE,
        "if self._judgements.get(block, Judgement.PENDING) is Judgement.PENDING:",
        "if True:",
        "consensus/test_engine.py::test_a_verdict_never_changes",
    ),
    Mutant(
        "the block of an earlier round's commit is not wanted",
        ENGINE,
        "        if self.wants_block(proposal.block):\n            return True\n",
        "",
        "consensus/test_engine.py::test_the_block_of_a_commit_is_wanted_whatever_round_its_proposal_is_of",
    ),
    Mutant(
        "time-outs do not grow",
        ENGINE,
        "base << min(round_, 32)",
        "base",
        "consensus/test_engine.py::test_time_outs_double_and_are_capped",
    ),
    Mutant(
        "one sender in a higher round is enough to go there",
        TALLY,
        "return rounds[faults] if len(rounds) > faults else 0",
        "return rounds[0] if rounds else 0",
        "consensus/test_tally.py::test_one_liar_alone_moves_nobody",
    ),
    Mutant(
        "it takes a quorum in a higher round to go there",
        TALLY,
        "return rounds[faults] if len(rounds) > faults else 0",
        "return rounds[2 * faults] if len(rounds) > 2 * faults else 0",
        "consensus/test_engine.py::test_f_plus_one_votes_of_both_kinds_together_lift_into_their_round",
    ),
    Mutant(
        "the second vote of an equivocator counts too",
        TALLY,
        "            return self._second(slot, first, vote)\n",
        "            counts = self._counts[slot]\n"
        "            counts[vote.block] += first.block != vote.block\n"
        "            if self._authorities.is_quorum(counts[vote.block]):\n"
        "                self._quorums[slot] = vote.block\n"
        "            return self._second(slot, first, vote)\n",
        "consensus/test_tally.py::test_a_second_vote_is_evidence_once_and_counts_for_nothing",
    ),
    Mutant(
        "a vote for nil of a round gone by counts again each time",
        TALLY,
        "        if first is not None:\n",
        "        if first is not None and (first.block or vote.round >= current_round - 1):\n",
        "consensus/test_engine.py::test_one_old_vote_for_nil_sent_in_every_round_hides_no_polka",
    ),
    Mutant(
        "who voted in a round gone by is not remembered",
        TALLY,
        "votes = self._votes.setdefault(slot, {})\n",
        "votes = self._votes.setdefault(slot, {}) if vote.round >= current_round else {}\n",
        "consensus/test_tally.py::test_a_vote_of_a_round_gone_by_is_kept_counts_once_and_is_not_contradicted_unseen",
    ),
    Mutant(
        "votes are signed without the signer record",
        PEN,
        "return self._signer.sign(self._position.height, round_, step, block=block, message=message, key=self._key)",
        "return self._key.sign(message)",
        "consensus/test_replica.py::test_what_the_record_forbids_is_not_said",
    ),
    Mutant(
        "a message leaves before the log is synced",
        PEN,
        "            self._log.sync()\n",
        "",
        "consensus/test_recovery.py::test_all_that_a_signature_follows_from_is_durable_before_the_signer_is_asked",
    ),
    Mutant(
        "the lock on record is not taken up after the loss of the log",
        ENGINE,
        "            locked = ValueAt(given.locked_round, given.locked_block)\n",
        "            locked = None\n",
        "consensus/test_recovery.py::test_without_its_log_a_node_still_keeps_its_word",
    ),
    Mutant(
        "replay writes into the log",
        HEIGHT,
        "        if self._live:\n            self._pen.append(entry)\n",
        "        self._pen.append(entry)\n",
        "consensus/test_recovery.py::test_replay_says_the_same_again_and_appends_nothing",
    ),
    Mutant(
        "expired time-outs are not logged",
        HEIGHT,
        "        if self._live:\n            self._pen.append(entry)\n",
        "        if self._live and not isinstance(entry, TimeoutEntry):\n            self._pen.append(entry)\n",
        "consensus/test_recovery.py::test_an_expired_timer_that_led_to_no_signature_stays_expired_too",
    ),
    Mutant(
        "nothing is said on entering a later round",
        HEIGHT,
        "            effects.append(Broadcast(VotesMessage(votes)))\n",
        "            pass\n",
        "consensus/test_replica.py::test_on_entering_a_later_round_the_reason_is_told",
    ),
    Mutant(
        "a re-proposal comes without its polka",
        HEIGHT,
        "message = ProposalMessage(proposal, block, polka)",
        "message = ProposalMessage(proposal, block, None)",
        "consensus/test_replica.py::test_a_locked_proposer_proposes_its_block_again_with_the_polka",
    ),
    Mutant(
        "a misdated proposal is handed on with the polka of another block",
        HEIGHT,
        "return polka if polka is not None and polka.block == proposal.block else None",
        "return polka",
        "consensus/test_replica.py::test_a_misdated_proposal_is_handed_on_without_the_polka_of_another_block",
    ),
    Mutant(
        "own votes are not repeated",
        REPLICA,
        "return [*map(Broadcast, votes), Broadcast",
        "return [Broadcast",
        "consensus/test_replica.py::test_own_votes_and_status_are_repeated_while_a_round_lasts",
    ),
    Mutant(
        "the signature of a vote is not checked",
        REPLICA,
        "            return []\n        self._signature(vote)\n",
        "            return []\n",
        "consensus/test_hostile_messages.py",
    ),
    Mutant(
        "a polka that is known already is taken as it comes",
        REPLICA,
        "            message = replace(message, polka=self._run.polka_of(proposal))\n",
        "            pass\n",
        "consensus/test_replica.py::test_a_forged_polka_is_neither_counted_nor_handed_on_where_the_true_one_is_known",
    ),
    Mutant(
        "the voters of a certificate need not be distinct",
        "consensus/checks.py",
        "len({entry.voter for entry in certificate.signatures})):\n"
        '        raise InvalidProof("a certificate without a quorum")\n'
        "    voters = [entry.voter for entry in certificate.signatures]\n"
        "    if voters != sorted(set(voters)):\n",
        "len(certificate.signatures)):\n"
        '        raise InvalidProof("a certificate without a quorum")\n'
        "    voters = [entry.voter for entry in certificate.signatures]\n"
        "    if voters != sorted(voters):\n",
        "consensus/test_hostile_messages.py",
    ),
    Mutant(
        "the signer record takes a slot below its last",
        "store/signer.py",
        "            if last is not None and slot <= last:\n",
        "            if last is not None and slot == last:\n",
        "store/test_signer.py::test_another_message_at_or_below_the_last_slot_is_refused_also_after_a_restart",
    ),
    Mutant(
        "a torn tail of the log stays",
        "store/wal.py",
        "os.ftruncate(self._file, sound.size_bytes)\n            os.lseek(self._file, sound.size_bytes, os.SEEK_SET)\n",
        "os.lseek(self._file, 0, os.SEEK_END)\n",
        "store/test_wal.py::test_a_log_cut_anywhere_yields_a_prefix_and_can_be_continued",
    ),
    Mutant(
        "a credit makes a unit",
        "state/accounts.py",
        "Account(account.balance + amount, account.nonce)",
        "Account(account.balance + amount + 1, account.nonce)",
        "testing/test_ledger_chaos.py::test_no_unit_is_lost_or_made_and_peace_brings_progress",
    ),
)
