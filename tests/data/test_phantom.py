"""The phantom: the same for the same seed, and like the EM stack in its figures."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from unet2015.data.phantom import phantom_stack


@pytest.fixture(scope="module")
def phantom():
    return phantom_stack(seed=3, slices=3, test_slices=1)


def test_the_phantom_has_the_form_of_the_em_stack(phantom):
    assert phantom.name == "phantom"
    assert phantom.train_images.shape == phantom.train_labels.shape == (3, 512, 512)
    assert phantom.test_images.shape == phantom.test_labels.shape == (1, 512, 512)
    assert phantom.train_images.dtype == phantom.train_labels.dtype == np.uint8
    assert phantom.test_images.dtype == phantom.test_labels.dtype == np.uint8
    assert np.unique(phantom.train_labels).tolist() == [0, 1]
    assert np.unique(phantom.test_labels).tolist() == [0, 1]
    assert len(set(phantom.hashes.values())) == 4


def test_no_slice_depends_on_how_many_are_asked_for(phantom):
    longer = phantom_stack(seed=3, slices=5, test_slices=2)
    np.testing.assert_array_equal(longer.train_images[:3], phantom.train_images)
    np.testing.assert_array_equal(longer.train_labels[:3], phantom.train_labels)
    np.testing.assert_array_equal(longer.test_images[:1], phantom.test_images)
    np.testing.assert_array_equal(longer.test_labels[:1], phantom.test_labels)


def test_seeds_and_the_test_stack_differ(phantom):
    other = phantom_stack(seed=4, slices=1, test_slices=0)
    assert other.test_images is None
    assert other.test_labels is None
    for labels in (other.train_labels[0], phantom.test_labels[0]):
        correlation = np.corrcoef(labels.ravel(), phantom.train_labels[0].ravel())[0, 1]
        assert abs(correlation) < 0.1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_membranes_are_as_many_and_as_dark_as_in_the_em_stack(seed):
    stack = phantom_stack(seed=seed, slices=1, test_slices=0)
    image, cell = stack.train_images[0].astype(float), stack.train_labels[0] == 1
    assert 0.17 <= 1 - cell.mean() <= 0.27
    assert 80 <= ndimage.label(cell)[1] <= 140
    assert 115 <= image.mean() <= 140
    assert 40 <= image[cell].mean() - image[~cell].mean() <= 62
    # half the widest membranes: a few px, as in the EM stack
    inside = ndimage.distance_transform_edt(~cell)
    ridge = inside[(inside == ndimage.maximum_filter(inside, 3)) & ~cell]
    assert 4 <= 2 * np.median(ridge) <= 8


def test_no_threshold_segments_the_phantom(phantom):
    """Best threshold, and Otsu's, of the image and of the smoothed one: 1 - F well above 0.06."""
    for image, labels in zip(phantom.train_images, phantom.train_labels, strict=True):
        for values in (image.astype(float), ndimage.gaussian_filter(image.astype(float), 2)):
            thresholds = [*range(20, 200, 4), threshold_otsu(values)]
            errors = [1 - f_score(values >= threshold, labels == 1) for threshold in thresholds]
            assert min(errors) > 0.07


def f_score(predicted: np.ndarray, cell: np.ndarray) -> float:
    return 2 * np.sum(predicted & cell) / (predicted.sum() + cell.sum())


def test_cells_drift_from_slice_to_slice():
    labels = phantom_stack(seed=0, slices=12, test_slices=0).train_labels.reshape(12, -1)
    correlations = np.corrcoef(labels)
    assert 0.15 < np.diag(correlations, 1).mean() < 0.5
    assert np.diag(correlations, 11).mean() < np.diag(correlations, 1).mean() / 2


def test_small_ones_have_both_classes():
    for size_px in (16, 33, 100):
        for seed in range(8):
            stack = phantom_stack(seed=seed, slices=2, size_px=size_px, test_slices=0)
            assert stack.train_images.shape == (2, size_px, size_px)
            assert np.unique(stack.train_labels).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("argument", "value"), [("seed", -1), ("slices", 0), ("size_px", 15), ("test_slices", -1)]
)
def test_impossible_sizes(argument, value):
    with pytest.raises(ValueError, match=rf"{argument} = {value}: must be an integer"):
        phantom_stack(**{argument: value})
