"""Pairs of files: paired by name, nothing skipped, read as they are, resized without a shift."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unet2015.data.image_file import distinct, read_instances, read_mask, read_rgb
from unet2015.data.pairs import (
    Pair,
    choose,
    files_sha256,
    find_folder,
    named_files,
    pair_files,
    read_pair,
    resize_pair,
)

pytestmark = pytest.mark.usefixtures("no_pairs_elsewhere")


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def files(*names: str) -> dict[str, Path]:
    return {name: Path(f"{name}.png") for name in names}


def test_pairs_have_the_same_name_whatever_the_order():
    images = {"p_10": Path("p_10.tif"), "p_1": Path("p_1.tif")}
    masks = {"p_1": Path("p_1_mask.tif"), "p_10": Path("p_10_mask.tif")}
    found = pair_files(images, masks, group=lambda name: name.split("_")[0])
    assert [(p.name, p.group, p.image.name, p.mask) for p in found] == [
        ("p_1", "p", "p_1.tif", Path("p_1_mask.tif")),
        ("p_10", "p", "p_10.tif", Path("p_10_mask.tif")),
    ]


def test_one_error_lists_all_that_has_no_partner():
    masks: dict = {**files("b", "y"), "z": (Path("z1.png"), Path("z2.png"))}
    with pytest.raises(ValueError, match=r"^5 file\(s\) without the other") as caught:
        pair_files(files("a", "b", "c", "d"), masks, group=lambda name: None)
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert lines == [
        *(f"image without a mask: {name}.png" for name in "acd"),
        *(f"mask without an image: {name}.png" for name in ("y", "z1")),
    ]
    with pytest.raises(ValueError, match="images: there is none"):
        pair_files({}, {}, group=lambda name: None)


def test_choose_takes_the_order_of_the_names_and_lists_the_unknown_ones():
    known = pair_files(files(*"abc"), files(*"abc"), group=lambda name: None)
    assert [pair.name for pair in choose(known, ["c", "a"])] == ["c", "a"]
    with pytest.raises(ValueError, match=r"2 of 3 are not among the 3 pairs.*: x, y$"):
        choose(known, ["x", "a", "y"])


def test_named_files_leave_out_hidden_and_other_files_but_no_odd_names(tmp_path):
    for name in ("a_1.png", "._a_1.png", "README.md"):
        (tmp_path / name).touch()
    found = named_files(tmp_path, r"(a_\d)\.png", "a_<n>.png")
    assert found == {"a_1": tmp_path / "a_1.png"}
    (tmp_path / "a_1 (copy).png").touch()
    with pytest.raises(ValueError, match=r"a_1 \(copy\)\.png: is not named as in the set, a_<n>"):
        named_files(tmp_path, r"(a_\d)\.png", "a_<n>.png")


def test_the_folder_given_then_the_environment_then_the_cache(tmp_path, monkeypatch):
    places = [tmp_path / "given", tmp_path / "root" / "set", tmp_path / "cache" / "set"]
    for place in places:
        (place / "train").mkdir(parents=True)
    monkeypatch.setenv("UNET2015_DATA", str(tmp_path / "root"))

    def found(data=None):
        return find_folder(data, "set", ("train",), "instructions")

    assert found(places[0]) == (places[0], "the folder given with --data")
    assert found() == (places[1], "$UNET2015_DATA/set")
    (places[1] / "train").rmdir()
    assert found() == (places[2], "the per-user cache")
    (places[1] / "train").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"has no train; they are in {places[1]}: give"):
        found(tmp_path / "root")


def test_a_set_that_is_nowhere_is_told_how_to_get(tmp_path, monkeypatch):
    monkeypatch.setenv("UNET2015_DATA", str(tmp_path / "root"))
    with pytest.raises(FileNotFoundError) as caught:
        find_folder(None, "set", ("train", "train_masks"), "kaggle …")
    for part in (
        "the set set was not found",
        f"$UNET2015_DATA/set ({tmp_path / 'root' / 'set'}) has no train and no train_masks",
        f"the per-user cache ({tmp_path / 'cache' / 'set'})",
        "\nkaggle …\n",
        "--data DIR",
    ):
        assert part in str(caught.value)


def test_a_download_fills_the_cache_or_says_why_not(tmp_path):
    def refused(cache: Path) -> str:
        raise ConnectionError(f"no way to {cache.name}")

    found = find_folder(None, "set", ("train",), "how", lambda cache: f"put into {cache.name}")
    assert found == (tmp_path / "cache" / "set", "put into set")
    with pytest.raises(FileNotFoundError, match="the download failed: no way to set"):
        find_folder(None, "set", ("train",), "how", refused)


def test_every_8_bit_kind_is_read_as_rgb_and_16_bits_are_refused(tmp_path):
    for mode in ("L", "LA", "RGB", "RGBA", "P", "1"):
        image = Image.fromarray(noise(5, 7, 4)).convert(mode)
        image.save(tmp_path / "a.png")
        found = read_rgb(tmp_path / "a.png")
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, np.array(image.convert("RGB")))
    path = save(tmp_path / "a.png", noise(5, 7).astype(np.uint16))
    with pytest.raises(ValueError, match=r"a\.png: is an image of mode I;16; must be 8-bit"):
        read_rgb(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tif"])
def test_a_damaged_or_missing_file_is_named(tmp_path, suffix):
    options = {"compression": "tiff_adobe_deflate"} if suffix == "tif" else {}
    path = save(tmp_path / f"a.{suffix}", noise(64, 64) // 128 * 255, **options)
    content = path.read_bytes()
    for read in (read_rgb, read_mask, read_instances):
        for kept in (0.0, 0.05, 0.6):
            path.write_bytes(content[: int(len(content) * kept)])
            with pytest.raises(
                ValueError, match=rf"a\.{suffix}: .* (damaged|cannot be read).*copy or down"
            ):
                read(path)
        with pytest.raises(FileNotFoundError, match=r"nothing\.png: no such file"):
            read(tmp_path / "nothing.png")


def test_a_file_of_two_images_is_refused(tmp_path):
    first, second = (Image.fromarray(noise(4, 4 + k)[:, :4]) for k in (0, 1))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(ValueError, match=r"a\.tif: has shape \(2, 4, 4\); must be one"):
        read_mask(tmp_path / "a.tif")


def test_masks_of_0_and_1_and_of_0_and_255_are_one(tmp_path):
    for mask in (noise(9, 11) > 127, np.zeros((3, 4), bool), np.ones((3, 4), bool)):
        for white in (1, 255):
            for suffix in ("png", "gif", "tif"):
                path = save(tmp_path / f"a.{suffix}", mask.astype(np.uint8) * white)
                found = read_mask(path)
                assert found.dtype == np.bool_
                np.testing.assert_array_equal(found, mask)


def test_a_palette_counts_with_its_colours_in_a_mask_and_its_indices_in_instances(tmp_path):
    image = Image.new("P", (3, 1))
    for index in range(3):
        image.putpixel((index, 0), index)
    image.putpalette([255, 255, 255, 0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == [[True, False, True]]
    assert read_instances(tmp_path / "a.png").tolist() == [[0, 1, 2]]


def test_wrong_mask_values_are_named_and_counted_where_a_jpeg_has_many(tmp_path):
    for values in ([0, 254, 255], [0, 7], [1, 255]):
        path = save(tmp_path / "a.png", np.array([values], dtype=np.uint8))
        with pytest.raises(ValueError, match=f"a.png: has the values {str(values)[1:-1]};"):
            read_mask(path)
    save(tmp_path / "a.jpg", noise(24, 24) // 128 * 255)
    with pytest.raises(ValueError, match=r"a\.jpg: has the values .* … \(\d+ values\)"):
        read_mask(tmp_path / "a.jpg")


def test_a_gray_rgb_mask_is_read_and_a_coloured_one_refused(tmp_path):
    mask = noise(5, 6) > 127
    gray = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", gray)), mask)
    gray[0, 0] = 255, 0, 0
    with pytest.raises(ValueError, match=r"b\.png: is a coloured image"):
        read_mask(save(tmp_path / "b.png", gray))


def test_instances_keep_their_ids(tmp_path):
    for dtype, factor in ((np.uint8, 1), (np.uint16, 250)):
        ids = noise(5, 6).astype(dtype) * factor
        found = read_instances(save(tmp_path / "a.png", ids))
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, ids)
        np.testing.assert_array_equal(distinct(found), np.unique(ids))
    assert distinct(np.array([[1 << 30, 0], [7, 7]])).tolist() == [0, 7, 1 << 30]


def test_read_instances_refuses_colours_and_fractions(tmp_path):
    for array in (noise(3, 3, 3), np.ones((3, 3), dtype=np.float32) / 2):
        with pytest.raises(ValueError, match="instances must be whole numbers"):
            read_instances(save(tmp_path / "a.tif", array))


def test_read_pair_unites_masks_and_instances(tmp_path):
    image = save(tmp_path / "a.png", noise(2, 3, 3))
    parts = np.array([[[1, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 1]]], dtype=np.uint8)
    masks = tuple(save(tmp_path / f"{k}.png", part * 255) for k, part in enumerate(parts))
    instances = save(tmp_path / "i.png", parts[0] * 3 + parts[1] * 7)
    for pair in (
        Pair("a", None, image, masks),
        Pair("a", None, image, instances, mask_holds="instances"),
    ):
        found, mask = read_pair(pair)
        np.testing.assert_array_equal(found, noise(2, 3, 3))
        assert mask.tolist() == [[True, False, False], [True, False, True]]


def test_unequal_sizes_are_named_with_both(tmp_path):
    pair = Pair("a", None, save(tmp_path / "a.png", noise(4, 6)), tmp_path / "a_mask.png")
    save(tmp_path / "a_mask.png", np.zeros((6, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"a\.png is 4 × 6 px .*a_mask\.png is 6 × 4 px"):
        read_pair(pair)


def test_an_image_is_resized_bilinearly_and_its_mask_to_the_nearest_as_by_torch():
    # odd sides: no new pixel's centre then lies on the border of two old pixels
    image, mask = noise(41, 61, 3), noise(41, 61) > 127
    channels = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    plane = torch.from_numpy(mask)[None, None].float()
    resize = torch.nn.functional.interpolate
    for size in ((16, 24), (13, 17), (48, 70), (41, 61), (1, 1)):
        found, small = resize_pair(image, mask, *size)
        expected = resize(channels, size, mode="bilinear", antialias=True)
        assert (found.dtype, small.dtype) == (np.uint8, np.bool_)
        assert np.abs(found - expected[0].permute(1, 2, 0).numpy()).max() <= 1.01
        nearest = resize(plane, size, mode="nearest-exact")
        np.testing.assert_array_equal(small, nearest[0, 0].numpy() > 0)


@pytest.mark.parametrize(
    ("image", "mask", "size", "named"),
    [
        (noise(4, 4, 3), np.zeros((4, 4), bool), (0, 4), "height, width = 0, 4"),
        (noise(4, 4), np.zeros((4, 4), bool), (4, 4), r"image is uint8 of shape \(4, 4\)"),
        (noise(4, 4, 3), np.zeros((4, 5), bool), (4, 4), r"mask is bool of shape \(4, 5\)"),
        (noise(4, 4, 3), noise(4, 4), (4, 4), "mask is uint8"),
    ],
)
def test_resize_pair_names_what_is_wrong(image, mask, size, named):
    with pytest.raises(ValueError, match=named):
        resize_pair(image, mask, *size)


def test_the_hash_is_of_names_and_bytes_in_name_order(tmp_path):
    names = ["b/x", "a/y", "a/x"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    # printf, sha256sum and sort of the coreutils
    digest = "731e8de8de8943c5c498996f0aa316b900f65d84c3b64c4bdf5ded78eada8e12"
    for order in (names, sorted(names)):
        assert files_sha256(tmp_path, [tmp_path / name for name in order]) == digest
