"""PyTorch's settings are as they are to be, for as long as they are to be."""

import pytest
import torch

from tests.tiny import blob_tiles, quietly, same_weights, settings
from unet2015.runtime import numerics as module
from unet2015.runtime.numerics import CUBLAS, check_precision, numerics, prepare_deterministic


def flags() -> tuple[bool, ...]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    deterministic = torch.are_deterministic_algorithms_enabled()
    return (
        *(deterministic, torch.is_deterministic_algorithms_warn_only_enabled()),
        *(cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32),
    )


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    # set, then removed: whatever a test leaves there is taken away after it
    monkeypatch.setenv(CUBLAS, "")
    monkeypatch.delenv(CUBLAS)


def test_on_the_cpu_determinism_is_switched_on_and_changes_no_result(tmp_path):
    config, seen = settings(), []
    tiles, before = blob_tiles(config), flags()
    one = quietly(config, tiles, tmp_path / "one")
    two = quietly(
        config,
        tiles,
        tmp_path / "two",
        deterministic=True,
        on_step=lambda _: seen.append(torch.are_deterministic_algorithms_enabled()),
    )
    assert seen == [True] * 8
    assert same_weights(one, two)
    assert one.history == two.history
    assert flags() == before
    # it is no part of a run: one that was begun without continues with it
    quietly(config, tiles, tmp_path / "one", deterministic=True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (False, False, False, True, False, False)),
        ({"tf32": True}, (False, False, False, True, True, True)),
        ({"deterministic": True}, (True, False, True, False, False, False)),
    ],
    ids=["fast", "tf32", "deterministic"],
)
def test_on_cuda_the_flags_are_set_and_put_back_also_after_an_error(options, expected):
    before = flags()

    def failing() -> None:
        with numerics("cuda:1", **options):
            assert flags() == expected
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert flags() == before


def test_cublas_is_told_before_cuda_is_used(monkeypatch):
    import os

    prepare_deterministic()
    assert os.environ[CUBLAS] == ":4096:8"
    monkeypatch.setattr(module.torch.cuda, "is_initialized", lambda: True)
    prepare_deterministic()  # set by a run before
    monkeypatch.delenv(CUBLAS)
    with pytest.raises(
        ValueError, match="before CUDA is first used; start the command with CUBLAS"
    ):
        prepare_deterministic()
    monkeypatch.setenv(CUBLAS, ":0:0")
    with pytest.raises(ValueError, match=r"= ':0:0': must be :4096:8 or :16:8"):
        prepare_deterministic()


def test_tf32_is_refused_where_there_is_none(tmp_path):
    check_precision("tf32", "cuda:1")
    config = settings(precision="tf32")
    with pytest.raises(ValueError, match=r"precision = 'tf32' on device cpu: .* use 'float32' or"):
        quietly(config, blob_tiles(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()
