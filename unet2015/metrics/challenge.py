"""All figures of the ISBI 2012 EM segmentation challenge for one proposal (paper §4, Table 1)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from unet2015.metrics.pixel import pixel_counts, pixel_error_of
from unet2015.metrics.rand import overlap_sweep, rand_error_of, v_info_of, v_rand_of
from unet2015.metrics.sweep import (
    CHALLENGE_THRESHOLDS,
    Score,
    challenge_thresholds,
    check_stacks,
)
from unet2015.metrics.warping import guarded_warping_error_of, warping_error_of, warping_sweep


@dataclass(frozen=True)
class ChallengeScores:
    """The figures of one proposal: Table 1's three errors, and what is reported beside them."""

    pixel_error: Score
    """1 − the maximal F-score of pixel similarity (Table 1)."""
    rand_error: Score
    """1 − the maximal F-score of the foreground-restricted Rand index (Table 1)."""
    warping_error: Score
    """Minimum splits and mergers warping error (Table 1); about 0 for a nearly empty proposal."""
    warping_error_guarded: Score
    """The same over plausible thresholds only; our addition, not a figure of the challenge."""
    v_rand_thinned: Score
    """V^Rand after border thinning, the challenge's main figure from 2016 on."""
    v_info_thinned: Score
    """V^Info after border thinning."""

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """The scores as nested dictionaries of plain values, ready for JSON."""
        return {field.name: getattr(self, field.name).as_dict() for field in fields(self)}


@dataclass(frozen=True)
class Protocol:
    """In what the two scripts of the organisers differ."""

    warping_thresholds: tuple[float, ...]
    radius_px: int
    """Of the window in which a split is told from a hole."""
    first_slice: int
    slice_step: int

    def slices(self, count: int) -> list[int]:
        """The indices, from 0, of the slices that are scored of a stack of `count`."""
        return list(range(self.first_slice, count, self.slice_step))


PROTOCOLS = {
    "2015": Protocol(challenge_thresholds(0.0, 0.9), 20, first_slice=0, slice_step=1),
    "2016": Protocol(challenge_thresholds(0.1, 0.9), 10, first_slice=2, slice_step=3),
}


def challenge_scores(
    labels: np.ndarray,
    probability: np.ndarray,
    protocol: Literal["2015", "2016"] = "2015",
    slices: Sequence[int] | None = None,
    threads: int | None = None,
) -> ChallengeScores:
    """The challenge's figures for one proposal (paper Table 1; V^Rand and V^Info of 2016).

    Args:
        labels: (N, H, W) or (H, W), bool or integers {0, 1} or {0, 255}; cell = nonzero.
        probability: the same shape, float32 or float64 in [0, 1], probability of cell.
        protocol: "2015" (default, because the paper's entry of 6 March 2015 was scored then):
            warping over thresholds 0 … 0.9 with radius 20, all slices (script of 22 January 2015;
            V^Rand and V^Info: script of 12 January 2016). "2016": warping over 0.1 … 0.9 with
            radius 10, every third slice (the script of January 2016 in the challenge's archive).
        slices: indices from 0 of the slices to score. Default: all for "2015"; 2, 5, 8, … for
            "2016".
        threads: None = all processors (our choice; the result does not depend on it).

    Returns:
        One score per figure. The guarded warping error has value and threshold None where no
        threshold leaves the proposal a plausible share of cell.

    Raises:
        ValueError: as `check_stacks`; an unknown protocol; slices that the stack does not have, are
            named twice, or none.

    >>> labels = np.array([[1, 1, 0, 1, 1]] * 5)
    >>> scores = challenge_scores(labels, labels.astype(np.float32))
    >>> scores.pixel_error.value, scores.warping_error.value, scores.v_rand_thinned.value
    (0.0, 0.0, 1.0)
    """
    cells, proposal = check_stacks(labels, probability)
    chosen = chosen_slices(slices, len(cells), protocol)
    rules = PROTOCOLS[protocol]
    if chosen != list(range(len(cells))):
        cells, proposal = cells[chosen], proposal[chosen]
    pixels = pixel_counts(cells, proposal, CHALLENGE_THRESHOLDS, threads)
    plain, thinned = overlap_sweep(cells, proposal, CHALLENGE_THRESHOLDS, threads)
    limits = rules.warping_thresholds
    warping = warping_sweep(cells, proposal, limits, rules.radius_px, threads)
    return ChallengeScores(
        pixel_error=pixel_error_of(pixels, CHALLENGE_THRESHOLDS),
        rand_error=rand_error_of(plain, CHALLENGE_THRESHOLDS),
        warping_error=warping_error_of(warping, limits, cells.size),
        warping_error_guarded=guarded_warping_error_of(warping, limits, cells, proposal),
        v_rand_thinned=v_rand_of(thinned, CHALLENGE_THRESHOLDS),
        v_info_thinned=v_info_of(thinned, CHALLENGE_THRESHOLDS),
    )


def chosen_slices(slices: Sequence[int] | None, count: int, protocol: str) -> list[int]:
    """The indices to score, checked; the protocol's own where `slices` is None.

    Raises ValueError as `challenge_scores`.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol = {protocol!r}: must be one of {', '.join(PROTOCOLS)}")
    rules = PROTOCOLS[protocol]
    if slices is None:
        chosen = rules.slices(count)
        if not chosen:
            raise ValueError(
                f"labels: {count} slices, of which protocol {protocol} scores none (it starts at "
                f"index {rules.first_slice}); name them, for instance slices=[0]"
            )
        return chosen
    chosen = [int(z) for z in slices]
    if not chosen:
        raise ValueError("slices = []: name at least one, or None for those of the protocol")
    for z, given in zip(chosen, slices, strict=True):
        if z != given or not 0 <= z < count:
            raise ValueError(
                f"slices: {given} is not a slice of the stack; indices go from 0 to {count - 1}"
            )
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"slices = {chosen}: a slice is named twice; name each once")
    return chosen
