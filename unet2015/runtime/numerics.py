"""How a device computes: the same bits every time, or as fast as its precision allows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
CUBLAS_VALUES = (":4096:8", ":16:8")
"""Values with which cuBLAS is deterministic (NVIDIA, cuBLAS documentation, 'reproducibility')."""


@contextmanager
def numerics(
    device: str | torch.device, *, deterministic: bool = False, tf32: bool = False
) -> Iterator[None]:
    """PyTorch's settings for training and predicting on `device`; those of before come back.

    On a CUDA device: precision 'float32' computes in IEEE single precision, so TF32, which PyTorch
    allows for convolutions by default, is off unless `tf32` (10 bits of mantissa instead of 23);
    'bfloat16' is autocast's matter and the same either way. cuDNN times its
    algorithms for each shape and takes the fastest (`cudnn.benchmark`; every tile has the same
    shape), which may be another one in another run: equal within rounding, not to the bit.

    deterministic: only deterministic algorithms, and no choice by time: equal bits on equal
    hardware and software. An operation that has none raises RuntimeError naming it. On the CPU,
    where training is deterministic as it is, this changes no result.
    Defaults: our choice. Raises ValueError as `prepare_deterministic`.
    """
    cuda = torch.device(device).type == "cuda"
    if deterministic and cuda:
        prepare_deterministic()
    cudnn: Any = torch.backends.cudnn  # its settings are properties, which its types do not say
    matmul = torch.backends.cuda.matmul
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    flags = (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32)
    try:
        if deterministic:
            torch.use_deterministic_algorithms(True)
        if cuda:
            cudnn.deterministic, cudnn.benchmark = deterministic, not deterministic
            cudnn.allow_tf32 = matmul.allow_tf32 = tf32
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        if cuda:
            cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = flags


def check_precision(precision: str, device: str | torch.device) -> None:
    """Raise ValueError for a precision (`config.TrainingConfig`) that the device does not have."""
    if precision == "tf32" and torch.device(device).type != "cuda":
        raise ValueError(
            f"training.precision = 'tf32' on device {device}: is an arithmetic of NVIDIA GPUs; "
            "use 'float32' or 'bfloat16'"
        )


def prepare_deterministic() -> None:
    """Set CUBLAS_WORKSPACE_CONFIG, which cuBLAS reads once, when it is first used on a GPU.

    A command that is to be deterministic calls this before it looks for its device. The variable
    stays set, since a later run of the same process needs it. Raises ValueError if it has a value
    with which cuBLAS is not deterministic, or is missing where CUDA is in use already.
    """
    given = os.environ.get(CUBLAS)
    if given in CUBLAS_VALUES:
        return
    remedy = f"start the command with {CUBLAS}={CUBLAS_VALUES[0]}"
    if given is not None:
        raise ValueError(
            f"deterministic = True with {CUBLAS} = {given!r}: must be "
            f"{' or '.join(CUBLAS_VALUES)}; {remedy}"
        )
    if torch.cuda.is_initialized():
        raise ValueError(
            f"deterministic = True: {CUBLAS} must be set before CUDA is first used; {remedy}"
        )
    os.environ[CUBLAS] = CUBLAS_VALUES[0]


def resolve_device(device: str) -> str:
    """'auto' as 'cuda' or 'cpu'; a device that PyTorch cannot use raises ValueError."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"--device {device}: PyTorch {torch.__version__} cannot use it here "
            f"({str(error).splitlines()[0]}); use 'auto' or 'cpu'"
        ) from error
    return device
