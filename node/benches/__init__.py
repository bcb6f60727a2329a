"""Measured figures of this machine, each beside what it is to be judged by, taken in the same run.

A figure alone says as much about the machine as about the program. So the chain's throughput stands beside the rate at
which the same process verifies Ed25519 signatures, finality beside what the same messages and durable writes take
without a chain in them, and a scoring's time beside its number of network evaluations. Nothing here asserts; the
figures are for people, and ``pdfed bench`` runs them.
"""
