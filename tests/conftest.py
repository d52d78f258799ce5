"""Beside pytest-xdist's other workers, each computes on one thread of its own.

Threads that wait for each other's cores take far longer than the few numbers take to compute.
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # read when NumPy and PyTorch are first imported, here and in processes that a test starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")
