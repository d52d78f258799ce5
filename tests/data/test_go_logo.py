"""The Go logo: annotated by the rule, scaled and placed by (seed, k), a glyph where it is not."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import find_objects, label

from tests.real_data import real_data
from unet2015.data.go_logo import BLUE, LOGO, annotate, draw_glyph, load_go_logo
from unet2015.data.image_file import read_mask

pytestmark = pytest.mark.usefixtures("no_pairs_elsewhere")


def test_the_annotation_rule_pixel_by_pixel():
    values = (0, 1, 254, 255)
    logo = np.array(np.meshgrid(values, values, values)).reshape(3, 8, 8).transpose(1, 2, 0)
    found = annotate(logo.astype(np.uint8))
    for pixel, foreground in zip(logo.reshape(-1, 3).tolist(), found.ravel(), strict=True):
        if pixel == [255, 255, 255]:
            pixel = [0, 0, 0]
        assert foreground == (0 not in pixel)


def test_annotate_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"logo is uint8 of shape \(4, 4, 4\)"):
        annotate(np.zeros((4, 4, 4), dtype=np.uint8))


def test_alpha_is_dropped(tmp_path):
    rgba = np.full((30, 40, 4), 255, dtype=np.uint8)
    rgba[..., 3] = 0
    rgba[10:20, 5:15] = (*BLUE, 16)
    Image.fromarray(rgba).save(tmp_path / LOGO)
    found = load_go_logo(tmp_path)
    assert "another file than the one known here" in found.source
    assert np.argwhere(found.annotation).min(axis=0).tolist() == [10, 5]
    assert found.annotation.sum() == 100
    np.testing.assert_array_equal(found.logo, rgba[..., :3])


def test_a_glyph_stands_in_and_says_so(tmp_path):
    found = load_go_logo()
    assert found.source.startswith("drawn glyph")
    assert found.logo.shape == (938, 1061, 3)
    # the logo's own is 13.5 %
    assert 0.11 < found.annotation.mean() < 0.16
    np.testing.assert_array_equal(found.annotation, (found.logo == BLUE).all(axis=2))
    np.testing.assert_array_equal(found.logo, draw_glyph())
    with pytest.raises(FileNotFoundError, match=rf"has no {LOGO}(.|\n)*go\.dev/blog/go-brand"):
        load_go_logo(tmp_path)


def test_pairs_are_the_logo_scaled_at_a_place_on_white():
    logo = load_go_logo()
    scales, corners = [], []
    rows, columns = find_objects(logo.annotation.astype(int))[0]
    for k in range(24):
        image, mask = logo.pair(0, k)
        assert image.shape == (572, 572, 3)
        assert image.dtype == np.uint8
        assert mask.dtype == np.bool_
        y, x = find_objects(mask.astype(int))[0]
        scale = (x.stop - x.start) / (columns.stop - columns.start) * 1061 / 572
        assert (y.stop - y.start) == pytest.approx(
            (rows.stop - rows.start) * scale * 572 / 1061, abs=2
        )
        scales.append(scale)
        corners.append((y.start, x.start))
        # the mask is where the image is not white, but for a pixel at the edges
        differ = mask != (image != 255).any(axis=2)
        assert label(mask)[1] == 4
        assert differ.mean() < 0.03
        assert (image[mask].astype(int).mean(axis=0) - BLUE < 20).all()
    assert 0.59 < min(scales) < 0.7
    assert 0.9 < max(scales) < 1.01
    assert np.ptp(corners, axis=0).min() > 100


def test_a_pair_depends_on_seed_and_k_alone():
    logo = load_go_logo()
    for again in (logo, load_go_logo()):
        for one, other in zip(logo.pair(3, 5), again.pair(3, 5), strict=True):
            np.testing.assert_array_equal(one, other)
    for seed, k in ((3, 6), (4, 5), (5, 3)):
        assert (logo.pair(seed, k)[1] != logo.pair(3, 5)[1]).any()
    with pytest.raises(ValueError, match="seed, k = 0, -1: must not be negative"):
        logo.pair(0, -1)


def test_the_real_logo_has_the_annotation_of_its_file():
    folder = real_data("golang-logo", LOGO).parent
    found = load_go_logo(folder)
    assert "the file known here" in found.source
    np.testing.assert_array_equal(found.annotation, read_mask(folder / "annotation_golang.png"))
    assert found.annotation.mean() == pytest.approx(0.135, abs=0.0005)
    assert found.pair(0, 0)[1].any()
