"""What the metadata of a checkpoint hold, by name and type: what reading one checks.

A right checksum says that nothing has changed, not that we have written it.
"""

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]


class Row(TypedDict):
    """`history.COLUMNS`."""

    step: float
    loss: float
    learning_rate: float
    cell_fraction: float
    accuracy: float


class Gray(TypedDict):
    """`data.gray_scale.GrayScale.as_dict`."""

    low: float
    high: float
    dtype: Annotated[str, Meta(pattern=r"^(u?int(8|16|32|64)|float(16|32|64))$")]
    clip: NotRequired[bool]


Quantiles = TypedDict(
    "Quantiles", {"0": float, "0.1": float, "50": float, "99.9": float, "100": float}
)
"""`data.gray_use.gray_quantiles`."""


class Data(TypedDict):
    """Beside what is stated here, hashes and sources of every kind."""

    gray_scale: NotRequired[Gray]
    gray_quantiles: NotRequired[Quantiles]


class About(TypedDict):
    config: dict[str, Any]
    seed: Count
    step: Count
    history: list[Row]
    pending: list[list[float]]
    seconds: Annotated[float, Meta(ge=0, le=1e10)]
    data: Data
    code: NotRequired[list[dict[str, Any]]]
