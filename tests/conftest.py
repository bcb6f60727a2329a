"""For all tests: torch computes on one thread, and waiting threads sleep; see docs/adr/0034."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
