"""One image file: every kind as it looks, what is no mask and no instances refused."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from unet2015.data.image_file import distinct, read_instances, read_mask, read_rgb


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


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
        with pytest.raises(ValueError, match=r"a\.tif: .*instance.* whole numbers from 0"):
            read_instances(save(tmp_path / "a.tif", array))
    tifffile.imwrite(tmp_path / "b.tif", np.full((3, 3), 2**32 - 1, np.uint32))
    with pytest.raises(ValueError, match=r"b\.tif: slice 0 has the id 4294967295"):
        read_instances(tmp_path / "b.tif")


def test_a_tiff_is_read_as_the_other_formats_are(tmp_path):
    for mode in ("L", "LA", "RGB", "RGBA", "P", "1"):
        image = Image.fromarray(noise(5, 7, 4)).convert(mode)
        image.save(tmp_path / "a.tif")
        np.testing.assert_array_equal(read_rgb(tmp_path / "a.tif"), np.array(image.convert("RGB")))
    planes = np.moveaxis(noise(5, 7, 3), -1, 0)
    tifffile.imwrite(tmp_path / "b.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_rgb(tmp_path / "b.tif"), noise(5, 7, 3))
    image = Image.fromarray(noise(9, 11) // 128).convert("P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "c.tif")
    np.testing.assert_array_equal(read_mask(tmp_path / "c.tif"), noise(9, 11) < 128)
    np.testing.assert_array_equal(read_instances(tmp_path / "c.tif"), noise(9, 11) // 128)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_an_image_that_is_stored_turned_is_refused(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / f"a.{suffix}", noise(4, 6), exif=exif)
    for read in (read_rgb, read_mask, read_instances):
        with pytest.raises(ValueError, match=rf"a\.{suffix}: .*turned or mirrored \(orientation 6"):
            read(path)
    exif[0x0112] = 1
    assert read_rgb(save(path, noise(4, 6), exif=exif)).shape == (4, 6, 3)


def test_colours_of_another_kind_are_refused(tmp_path):
    Image.fromarray(noise(4, 6, 3)).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg: is an image of mode CMYK; must be"):
        read_rgb(tmp_path / "a.jpg")


def test_16_bits_a_channel_are_never_read_as_8(tmp_path):
    # 1 × 1 px, as Pillow cannot write it
    def chunk(kind: bytes, data: bytes) -> bytes:
        return b"".join(
            (struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(kind + data)))
        )

    head, row = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0), b"\0" + struct.pack(">3H", 1, 2, 3)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    with pytest.raises(ValueError, match=r"a\.png: is an image of mode RGB with 16 bits a channel"):
        read_rgb(tmp_path / "a.png")
