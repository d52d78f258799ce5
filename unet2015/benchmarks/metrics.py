"""How long the challenge's metrics take, beside a plain implementation in the same process.

    python -m unet2015 benchmark metrics --json results/benchmarks/metrics_cpu.json

The times are of this machine and this moment: compare runs on an idle machine only. With the
environment variable NUMBA_CACHE_DIR at an empty folder the first call shows the compilation.
"""

import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from unet2015 import metrics
from unet2015.benchmarks import plain_metrics as plain
from unet2015.benchmarks.timing import Benchmark, Timed, in_words
from unet2015.data.isbi2012 import load_isbi2012
from unet2015.data.phantom import phantom_stack

TOLERANCE = 1e-12
"""Largest difference of a score from the plain implementation's: sums may be added up in another
order, counts are equal."""
NOISY, GOOD = (6.0, 2.2), (12.0, 0.5)
"""Steepness at membranes and strength of the noise. On the EM labels V^Rand is 0.78 for the noisy
one, and 0.9998 for the good one, like a confident network's (our choice)."""


def benchmark(
    *,
    slices: int = 30,
    size_px: int = 512,
    plain_slices: int = 3,
    repeats: int = 3,
) -> Benchmark:
    """Time pixel, Rand, warping error, V^Rand, V^Info and the whole protocol of 2015.

    All thresholds, on a noisy and a good prediction of the ISBI 2012 training labels, or of the
    phantom's where those are not at hand (the notes say which). slices, size_px: how much of them
    (30 × 512 × 512 is the challenge's stack). plain_slices: how many of the slices the plain
    implementation is run on, because it is slow; the ratio is per slice. repeats: ours is run so
    many times, the median counts.

    Raises ValueError for counts below 1 or above what there is, RuntimeError if the two
    implementations disagree: then there is no time to report.
    """
    _check("slices", slices, 1, 30)
    _check("size_px", size_px, 32, 512)
    _check("plain_slices", plain_slices, 1, slices)
    _check("repeats", repeats, 1, 100)
    labels, source = _labels(slices, size_px)
    predictions = {"noisy": a_prediction(labels, *NOISY), "good": a_prediction(labels, *GOOD)}
    noisy, corner = predictions["noisy"], np.s_[:2, :64, :64]
    first, _ = _seconds(lambda: metrics.challenge_scores(labels[corner], noisy[corner]))
    # once, and before all else: what is freed later need not go back to the system
    memory = _memory_above_inputs(lambda: metrics.challenge_scores(labels, noisy))
    rows = [
        _time(part, name, labels, prediction, plain_slices, repeats)
        for name, prediction in predictions.items()
        for part in _PARTS
    ]
    notes = [
        f"{_size(labels.shape)} float32 predictions made from {source}, all thresholds of protocol "
        f"2015. Ours: median of {repeats}, all cores. Plain: one core, one run; equal results were "
        "checked on its slices.",
        f"First call, on {_size(labels[corner].shape)}: {in_words(first)}; numba compiles then, or "
        "loads what it has compiled before.",
        f"Peak memory above the inputs (whole protocol, noisy): {_in_mib(memory)}.",
    ]
    return Benchmark(rows, notes)


def a_prediction(
    labels: np.ndarray, steepness: float, noise: float, *, seed: int = 0
) -> np.ndarray:
    """A made-up prediction for labels (N, H, W), 0 and 1: float32 in [0, 1], steps of 1/1024.

    sigmoid(steepness · (L - 0.5) + noise · n), L the labels blurred with σ = 1 px, n noise blurred
    with σ = 2.5 px and scaled to a standard deviation of 1; each slice is blurred by itself.
    """
    rng = np.random.default_rng(seed)
    blurred = np.stack([gaussian_filter(plane.astype(np.float64), 1.0) for plane in labels])
    grain = np.stack(
        [gaussian_filter(rng.standard_normal(plane.shape), 2.5, mode="wrap") for plane in labels]
    )
    probability = expit(steepness * (blurred - 0.5) + noise * grain / grain.std())
    return (np.round(probability * 1024) / 1024).astype(np.float32)


def _whole(labels: np.ndarray, probability: np.ndarray) -> list[metrics.Score]:
    found = metrics.challenge_scores(labels, probability)
    return [
        found.pixel_error,
        found.rand_error,
        found.warping_error,
        found.v_rand_thinned,
        found.v_info_thinned,
    ]


_ALL = metrics.challenge_thresholds()
_Ours = Callable[[np.ndarray, np.ndarray], list[metrics.Score]]
_Plain = Callable[[np.ndarray, np.ndarray], list[list[float]]]
_PARTS: dict[str, tuple[_Ours, _Plain]] = {
    "pixel error": (
        lambda labels, p: [metrics.pixel_error(labels, p)],
        lambda labels, p: [plain.pixel_error_curve(labels, p, _ALL)],
    ),
    "Rand error": (
        lambda labels, p: [metrics.rand_error(labels, p)],
        lambda labels, p: [plain.rand_error_curve(labels, p, _ALL)],
    ),
    "warping error": (
        lambda labels, p: [metrics.warping_error(labels, p)],
        lambda labels, p: [plain.warping_error_curve(labels, p, _ALL[:-1])],
    ),
    "V^Rand, thinned": (
        lambda labels, p: [metrics.v_rand(labels, p)],
        lambda labels, p: [plain.v_rand_curve(labels, p, _ALL)],
    ),
    "V^Info, thinned": (
        lambda labels, p: [metrics.v_info(labels, p)],
        lambda labels, p: [plain.v_info_curve(labels, p, _ALL)],
    ),
    "whole protocol": (
        _whole,
        lambda labels, p: list(plain.all_curves(labels, p, _ALL).values()),
    ),
}


def _labels(slices: int, size_px: int) -> tuple[np.ndarray, str]:
    try:
        stack = load_isbi2012(download=False)
        source = "the ISBI 2012 training labels"
    except FileNotFoundError:
        stack = phantom_stack(slices=slices, size_px=size_px, test_slices=0)
        source = f"labels of the {stack.source} (ISBI 2012 is not at hand)"
    return np.ascontiguousarray(stack.train_labels[:slices, :size_px, :size_px]) > 0, source


def _time(
    part: str,
    name: str,
    labels: np.ndarray,
    probability: np.ndarray,
    plain_slices: int,
    repeats: int,
) -> Timed:
    """Check a part against the plain implementation, and time both."""
    ours, plainly = _PARTS[part]
    few = labels[:plain_slices], probability[:plain_slices]
    expected: list[list[float]] = []
    plain_seconds, _ = _seconds(lambda: expected.extend(plainly(*few)))
    difference = _largest_difference(part, ours(*few), expected)
    runs = [_seconds(lambda: ours(labels, probability)) for _ in range(repeats)]
    cpu = statistics.median(cpu for _, cpu in runs)
    return Timed(
        work=f"{part}, {name} prediction",
        ours_s=statistics.median(wall for wall, _ in runs),
        plain_s=plain_seconds,
        plain="NumPy, SciPy and Python loops",
        slices=(len(labels), plain_slices),
        remark=f"{in_words(cpu)} of CPU time; differs by {difference:.0e} at most",
        headline=part == "whole protocol",
    )


def _largest_difference(
    part: str, found: list[metrics.Score], expected: list[list[float]]
) -> float:
    largest = 0.0
    for score, curve in zip(found, expected, strict=True):
        largest = max(largest, float(np.max(np.abs(np.subtract(score.curve, curve)))))
    # written so that NaN fails too
    if not largest <= TOLERANCE:
        raise RuntimeError(
            f"{part}: differs from the plain implementation by {largest:g} (at most {TOLERANCE:g} "
            "is rounding); one of them is wrong, the times mean nothing"
        )
    return largest


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of a call; CPU of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def _memory_above_inputs(call: Callable[[], object]) -> float | None:
    """By how many bytes the resident memory rises during a call; None where it is unknown."""
    gc.collect()
    try:
        # sets the highest value seen back to the present one (Linux, proc(5))
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status("VmRSS")
    except OSError:
        call()
        return None
    call()
    return max(0.0, _status("VmHWM") - before)


def _status(name: str) -> float:
    """A figure of this process in bytes, from the Linux kernel."""
    text = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    line = next(line for line in text.splitlines() if line.startswith(f"{name}:"))
    return 1024.0 * int(line.split()[1])


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _in_mib(memory: float | None) -> str:
    return "not known on this system" if memory is None else f"{memory / 2**20:.0f} MiB"


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} = {value}: must be an integer from {least} to {most}")
