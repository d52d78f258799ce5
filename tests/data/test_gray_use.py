"""What is said of gray values that a network was not trained on, and which range is recommended."""

import re

import numpy as np
import pytest

from unet2015.data.gray_scale import GrayScale, gray_range, scale_gray
from unet2015.data.gray_use import Remark, about_gray, gray_quantiles, scale_for

IMAGES = np.clip(np.random.default_rng(0).normal(120, 25, (2, 64, 64)), 0, 255).astype(np.uint8)
TRAINED = GrayScale(0, 255, "uint8")
SEEN = gray_quantiles(IMAGES)


def asked(
    stack: np.ndarray,
    value_range: tuple[float, float] | None = None,
    trained: GrayScale = TRAINED,
    seen: dict[str, float] | None = SEEN,
) -> tuple[GrayScale, list[Remark]]:
    return scale_for(stack, value_range, trained, seen)


def advised(text: str) -> tuple[float, float]:
    """The --value-range that a message recommends."""
    found = re.search(r"--value-range (\S+) ([^\s,]+)", text)
    assert found is not None, text
    return float(found[1]), float(found[2])


def test_a_checkpoint_keeps_five_quantiles_of_the_images_as_taken():
    about = about_gray(TRAINED, IMAGES)
    assert about["gray_scale"] == TRAINED.as_dict()
    assert list(about["gray_quantiles"]) == ["0", "0.1", "50", "99.9", "100"]
    ordered = np.sort(IMAGES.ravel())
    assert about["gray_quantiles"]["0"] == ordered[0]
    assert about["gray_quantiles"]["100"] == ordered[-1]
    for percent, value in about["gray_quantiles"].items():
        place = float(percent) / 100 * (ordered.size - 1)
        assert ordered[int(place)] <= value <= ordered[int(np.ceil(place))]


@pytest.mark.parametrize("seen", [SEEN, None], ids=["compared", "not kept"])
def test_nothing_is_said_of_images_like_those_of_the_training(seen):
    brighter = np.clip(IMAGES * 1.3, 0, 255).astype(np.uint8)
    for stack in (IMAGES, IMAGES[:1, :40], brighter):
        assert asked(stack, seen=seen) == (TRAINED, [])


SHIFTED = {
    "×8": IMAGES.astype(np.uint16) * 8,
    "offset": IMAGES.astype(np.uint16) + 1000,
    "dark": IMAGES // 4,
    "signed": IMAGES.astype(np.int16) * 3 - 500,
    "16-bit": IMAGES.astype(np.uint16) * 257,
    "unscaled": IMAGES.astype(np.uint16),
    "float": (IMAGES / 255).astype(np.float32),
    "float 255": IMAGES.astype(np.float64),
    "faint float": IMAGES.astype(np.float32) * np.float32(1e-6),
}


@pytest.mark.parametrize("trained", [TRAINED, GrayScale(20, 300, "uint8")], ids=["type", "given"])
@pytest.mark.parametrize("stack", SHIFTED.values(), ids=SHIFTED)
def test_the_range_that_is_recommended_gives_the_grays_of_the_training(stack, trained):
    if stack.dtype.name == "uint8":
        ((kind, text),) = [r for r in asked(stack, trained=trained)[1] if "trained on" in r[1]]
        assert kind == "warning"
    else:
        with pytest.raises(ValueError, match=r"made for uint8; .*--value-range") as refused:
            asked(stack, trained=trained)
        text = str(refused.value)
    assert "convert" not in text
    scale, remarks = asked(stack, advised(text), trained)
    assert [r for r in remarks if "trained on" in r[1]] == []
    expected = scale_gray(IMAGES, (trained.low, trained.high), clip=True)
    # the dark one has a quarter of the gray values
    step = (4 if stack.dtype == np.uint8 else 1) / (trained.high - trained.low)
    np.testing.assert_allclose(scale.apply(stack, clip=True), expected, atol=1.5 * step)


def test_8_bit_images_of_a_16_bit_training_are_taken_whole():
    wide = IMAGES.astype(np.uint16) * 257
    trained, seen = GrayScale(0, 65535, "uint16"), gray_quantiles(wide)
    with pytest.raises(ValueError, match=r"--value-range 0 255, in which it looks like"):
        asked(IMAGES, trained=trained, seen=seen)
    # numbers left as they were, in a type with room for them: the training's own
    twelve = GrayScale(0, 4095, "uint16")
    with pytest.raises(ValueError, match=r"--value-range 0 4095, in which it looks like"):
        asked(IMAGES.astype(np.float32) * 16, None, twelve, gray_quantiles(IMAGES * np.uint16(16)))
    # and percentiles are those of the images, whatever their type could hold
    scale = GrayScale.of(wide, gray_values="percentiles")
    with pytest.raises(ValueError, match="made for uint16") as refused:
        asked(IMAGES, trained=scale, seen=seen)
    assert advised(str(refused.value)) == pytest.approx((scale.low / 257, scale.high / 257), 0.01)


def test_without_quantiles_of_the_training_only_the_usual_range_is_named():
    with pytest.raises(ValueError, match="--value-range 0 65535, if that is its range"):
        asked(IMAGES.astype(np.uint16), seen=None)
    with pytest.raises(ValueError, match=r"--value-range LOW HIGH$"):
        asked(IMAGES.astype(np.float32), seen=None)
    assert asked(IMAGES // 12, seen=None) == (TRAINED, [])


def test_where_nothing_is_to_be_seen_no_range_is_recommended():
    empty = (IMAGES / 256).astype(np.uint8)
    (_, text) = asked(empty)[1][-1]
    assert text.startswith("nearly all of its pixels have the gray value 0 ")
    assert "--value-range" not in text
    with pytest.raises(ValueError, match=r"LOW HIGH, but nearly all .* gray value 0 "):
        asked(empty.astype(np.uint16))
    # nor is anything compared with training images of one gray value
    assert asked(IMAGES, seen=gray_quantiles(empty)) == (TRAINED, [])


def test_values_beyond_are_clipped_and_counted():
    narrow = GrayScale(50, 150, "uint8")
    share = np.mean((IMAGES < 50) | (IMAGES > 150))
    scale, remarks = asked(IMAGES, (50, 150), seen=None)
    text = f"{100 * share:.1f} % of the pixels are beyond the gray values 50 to 150: taken as black"
    assert remarks == [("warning", f"{text} or white")]
    expected = scale_gray(np.clip(IMAGES, 50, 150), (50, 150))
    np.testing.assert_array_equal(scale.apply(IMAGES, clip=True), expected)
    # to the bit what it was without clipping, where there is nothing to clip
    wide = GrayScale(-3.7, 301.3, "uint8")
    np.testing.assert_array_equal(wide.apply(IMAGES, clip=True), wide.apply(IMAGES))
    with pytest.raises(ValueError, match="outside 50 to 150"):
        narrow.apply(IMAGES)


def test_a_hot_pixel_is_a_note():
    twelve = IMAGES.astype(np.uint16)
    trained, seen = GrayScale(0, 400, "uint16"), gray_quantiles(twelve)
    twelve[0, 3, 3] = 4200
    _, remarks = asked(twelve, trained=trained, seen=seen)
    text = "1 of 8192 pixels beyond the gray values 0 to 400: taken as black or white"
    assert remarks == [("note", text)]


def test_percentiles_that_clip_their_own_images_do_so_of_many_pixels_with_a_warning():
    trained = GrayScale.of(IMAGES, gray_values="percentiles")
    assert asked(IMAGES, trained=trained) == (trained, [])
    (kind, text), *_ = asked(IMAGES + np.uint8(20), trained=trained)[1]
    assert (kind, "% of the pixels are beyond" in text) == ("warning", True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("clip", [False, True])
def test_nan_and_infinite_values_are_refused_whatever_is_clipped(value, clip):
    stack = (IMAGES / 255).astype(np.float32)
    percentiles = GrayScale.of(stack, gray_values="percentiles")
    stack[1, 2, 3] = value
    for scale in (GrayScale(0, 1, "float32"), percentiles):
        with pytest.raises(ValueError, match="NaN or infinite"):
            scale.apply(stack, clip=clip)
    with pytest.raises(ValueError, match="NaN or infinite"):
        asked(stack, (0, 1))
    with pytest.raises(ValueError, match="NaN or infinite"):
        GrayScale.of(stack, gray_values="percentiles")


def test_what_are_no_numbers_is_refused():
    for stack in (IMAGES.astype(complex), IMAGES.astype(str)):
        with pytest.raises(ValueError, match="must be integers or floats"):
            asked(stack, (0, 255))


@pytest.mark.parametrize(
    ("values", "dtype", "advice"),
    [
        ([90, 4000], "uint16", "--value-range 0 4095 would fit"),
        ([0, 4096], "uint16", "--value-range 0 8191 would fit"),
        ([3, 20], "uint8", "--value-range 0 31 would fit"),
        ([1003, 1098], "uint16", "--value-range 1000 1100 would fit"),
        ([0.012, 0.049], "float32", "--value-range 0.01 0.05 would fit"),
        ([7, 7], "uint8", "there is nothing to be seen in them"),
    ],
)
def test_the_range_for_a_training_that_uses_little_of_its_scale(values, dtype, advice):
    stack = np.array(values, dtype)
    little = GrayScale.of(stack).little_used(stack)
    assert little is not None
    assert little.endswith(advice)
    if "--value-range" in advice:
        again = GrayScale.of(stack, advised(advice))
        assert again.little_used(stack) is None


def test_a_given_range_is_compared_with_the_training_too():
    assert asked(IMAGES, (0, 255))[1] == []
    ((kind, text),) = asked(IMAGES, (0, 2550))[1]
    assert kind == "warning"
    assert advised(text) == pytest.approx((0, 255), abs=1)


def test_less_than_half_in_common_is_the_limit():
    """Ranges of one width that are shifted: of (w - s) / (w + s), a half is at s = w / 3."""
    low, high = SEEN["0.1"], SEEN["99.9"]
    for share, said in ((0.25, 0), (0.4, 1)):
        shift = share * (high - low)
        scale = (-shift, 255 - shift)
        remarks = scale_for(IMAGES.astype(np.float32), scale, TRAINED, SEEN)[1]
        found = [text for _, text in remarks if "the network was trained on" in text]
        assert len(found) == said


def test_a_range_that_was_chosen_for_some_images_is_no_types_own():
    """Of black at 50 nobody knows what it is in another type; of 0 to 255 all of it is meant."""
    trained = GrayScale(50, 255, "uint8")
    with pytest.raises(ValueError, match="uint16") as caught:
        asked(IMAGES.astype(np.uint16) * 257, trained=trained)
    assert advised(str(caught.value)) == pytest.approx((50 * 257, 255 * 257), rel=0.01)


def test_inverted_images_are_warned_of_where_the_median_tells_them():
    dark = np.clip(np.random.default_rng(0).exponential(25, (2, 64, 64)), 0, 255).astype(np.uint8)
    seen = gray_quantiles(dark)
    assert asked(dark[:1], seen=seen)[1] == []
    ((kind, text),) = asked(255 - dark + dark.min(), (0, 255), seen=seen)[1][-1:]
    assert kind == "warning"
    assert "inverted images" in text or "the network was trained on" in text
    mirrored = (dark.max() - dark).astype(np.uint8)
    ((kind, text),) = asked(mirrored, seen=seen)[1]
    assert re.match(r"half of the pixels lie below \d\d % of .* below \d\d? %: inverted", text)


def test_hot_pixels_do_not_hide_that_the_scale_is_little_used():
    images = (100 + IMAGES).astype(np.uint16)
    images[0, 3, 3] = 65535
    said = GrayScale(0, 65535, "uint16").little_used(images)
    assert said is not None
    assert "but for a few pixels; if these are hot ones, --training.gray-values percentiles" in said
    assert GrayScale(0, 255, "uint8").little_used(IMAGES) is None
    dark = np.zeros_like(images)
    dark[0, 3, 3] = 65535
    assert "nothing to be seen" not in str(GrayScale(0, 65535, "uint16").little_used(dark))
    with pytest.raises(ValueError, match="two finite numbers"):
        gray_range("uint8", (-1e308, 1e308))
