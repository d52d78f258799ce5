"""Pairs of files: paired by name, nothing skipped, read as they are, resized without a shift."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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
