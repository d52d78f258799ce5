"""The reference cases are read as the organisers' program read them."""

import hashlib
from pathlib import Path

import numpy as np

from tests.metrics.reference import each_case, load


@each_case()
def test_pixels_are_those_the_organisers_program_read(case: Path) -> None:
    labels, probability, expected = load(case)
    assert labels.dtype == np.uint8
    assert labels.shape == (expected["slices"], expected["height"], expected["width"])
    raw = np.ascontiguousarray(probability, dtype="<f4").tobytes()
    assert hashlib.sha1(labels.tobytes()).hexdigest() == expected["sha1_labels_u8"]
    assert hashlib.sha1(raw).hexdigest() == expected["sha1_proposal_f32le"]
