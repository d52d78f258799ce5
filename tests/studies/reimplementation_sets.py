"""Tiny sets in the official layouts of those that the later re-implementations use, made up."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from unet2015.experiments.reimplementations.nuclei import IMAGES

PATIENTS = ("TCGA_AA_0001_20000101", "TCGA_BB_0002_20000101", "TCGA_CC_0003_20000101")
CARS = ("00aa", "11bb", "22cc", "33dd", "44ee")
IMAGE_IDS = tuple(f"{prefix}{0:056}" for part in IMAGES.values() for prefix in part)


def make_lgg(folder: Path, slices: Sequence[int] = range(1, 13)) -> Path:
    """32 × 32 px; gray value 60·patient + slice; the tumour of slice n is column n and the next."""
    for k, patient in enumerate(PATIENTS, start=1):
        place = folder / "kaggle_3m" / patient
        place.mkdir(parents=True)
        for n in slices:
            tifffile.imwrite(place / f"{patient}_{n}.tif", _gray(60 * k + n))
            mask = np.zeros((32, 32), np.uint8)
            mask[:, n : n + 2] = 255
            tifffile.imwrite(place / f"{patient}_{n}_mask.tif", mask)
    return folder


def make_carvana(folder: Path, views: int = 4) -> Path:
    """32 × 32 px; gray value 40·car + view; the car is the lower half."""
    for part in ("train", "train_masks"):
        (folder / part).mkdir(parents=True)
    mask = Image.fromarray(np.repeat(np.array([0, 255], np.uint8), 16)[:, None].repeat(32, axis=1))
    for k, car in enumerate(CARS, start=1):
        for view in range(1, views + 1):
            name = f"{car}_{view:02}"
            image = Image.fromarray(_gray(40 * k + view))
            image.save(folder / "train" / f"{name}.jpg", quality=100)
            mask.save(folder / "train_masks" / f"{name}_mask.gif")
    return folder


def make_nuclei(folder: Path) -> Path:
    """18 images, 160 × 240 px, of three nuclei: a.png is the left third of the lower half."""
    for k, name in enumerate(IMAGE_IDS, start=1):
        place = folder / "stage1_train" / name
        for part in ("images", "masks"):
            (place / part).mkdir(parents=True)
        Image.fromarray(_gray(10 * k, 160, 240)).save(place / "images" / f"{name}.png")
        for third, letter in enumerate("abc"):
            mask = np.zeros((160, 240), np.uint8)
            mask[80:, 80 * third : 80 * third + 80] = 255
            Image.fromarray(mask).save(place / "masks" / f"{letter}.png")
    return folder


def make_penn_fudan(folder: Path, count: int = 10) -> Path:
    """32 × 32 px; gray value 20·number; two persons, the left and the right quarter."""
    for part in ("PNGImages", "PedMasks"):
        (folder / part).mkdir(parents=True)
    for k in range(1, count + 1):
        name = f"FudanPed{k:05}"
        Image.fromarray(_gray(20 * k)).save(folder / "PNGImages" / f"{name}.png")
        ids = np.zeros((32, 32), np.uint8)
        ids[:, :8], ids[:, 24:] = 1, 2
        Image.fromarray(ids).save(folder / "PedMasks" / f"{name}_mask.png")
    return folder


def _gray(value: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)
