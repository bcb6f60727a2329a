"""Consensus: which block comes next, agreed by more than two thirds of the authorities, final at once.

From the inside out::

    round_machine   the rules of arXiv 1807.04938 as pure functions
    tally           votes, quorums, evidence
    engine          one height: messages in, rules in a fixed order, effects out
    pen, log        what is logged and signed, and in which order
    height          one height with its application, log and signer
    pacing          when a height starts
    repair, inbox   what neighbours lack; what came too early
    checks          messages of others before they touch anything
    replica         height after height: the one class that others drive

Import from the modules; this package exports nothing itself.
"""
