"""Times of the project's parts beside plain counterparts, measured side by side in one run.

    python -m unet2015 benchmark train
    python -m unet2015 benchmark metrics --json results/benchmarks/metrics_cpu.json

A benchmark is no test: nothing fails if it is slow. Every row names what was done, our time, the
plain counterpart's time on the same work in the same process, and their ratio; where the limit of
the hardware is known, the share of it that was reached. `reproduce/tables.py` makes the page of
results/ from the JSON records.
"""
