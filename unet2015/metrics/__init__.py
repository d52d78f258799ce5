"""The metrics of the ISBI 2012 EM challenge and of the Cell Tracking Challenge.

The challenge's figures follow the organisers' evaluation scripts of 22 January 2015 and 12 January
2016 to the last digit (paper §4, Table 1); SEG, IoU and Dice serve Table 2 and the
re-implementations. NumPy arrays in, numbers out.
"""

from unet2015.metrics.challenge import (
    PROTOCOLS,
    ChallengeScores,
    challenge_scores,
    chosen_slices,
)
from unet2015.metrics.labelling import components
from unet2015.metrics.pixel import pixel_error
from unet2015.metrics.rand import rand_error, v_info, v_rand
from unet2015.metrics.segmentation import (
    ObjectOverlaps,
    accuracy,
    dice,
    dice_of_classes,
    iou,
    object_overlaps,
    segmentation_accuracy,
)
from unet2015.metrics.sweep import Score, challenge_thresholds, check_stacks
from unet2015.metrics.thinning import watershed_segments
from unet2015.metrics.warping import (
    MISMATCH_CLASSES,
    Mismatches,
    guarded_warping_error,
    mismatches,
    warping_error,
)

__all__ = [
    "MISMATCH_CLASSES",
    "PROTOCOLS",
    "ChallengeScores",
    "Mismatches",
    "ObjectOverlaps",
    "Score",
    "accuracy",
    "challenge_scores",
    "challenge_thresholds",
    "check_stacks",
    "chosen_slices",
    "components",
    "dice",
    "dice_of_classes",
    "guarded_warping_error",
    "iou",
    "mismatches",
    "object_overlaps",
    "pixel_error",
    "rand_error",
    "segmentation_accuracy",
    "v_info",
    "v_rand",
    "warping_error",
    "watershed_segments",
]
