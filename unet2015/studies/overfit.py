"""Can the network learn one batch by heart, and from which learning rate on?

    python -m unet2015 overfit --experiment quick --figure overfit.png
    python -m unet2015 overfit --experiment reimplementations/em_unaligned/mended

A network that cannot over-fit a single batch has a defect, or a learning rate that does not suit
it; more data would only hide that. One later re-implementation searches its settings in this way.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from unet2015.augmentation.samples import training_tiles
from unet2015.config import AugmentationConfig, ExperimentConfig
from unet2015.loss import Loss
from unet2015.model import UNet
from unet2015.runtime.numerics import check_precision, numerics
from unet2015.training.batches import Batch, collate
from unet2015.training.loop import Run, new_run, train_step
from unet2015.training.step import on_device, own_drop_out

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""Learning rates, evenly spaced on a logarithmic scale (our choice: a decade to each side of the
default)."""
STEPS = 300
"""Most steps at one rate (our choice: some minutes a rate with two CPU cores)."""
TOLERANCE = 0.1
"""The loss at which the batch counts as learnt (one re-implementation's README)."""
NO_AUGMENTATION = AugmentationConfig(
    elastic_sigma_px=0,
    rotation="none",
    flips=False,
    shift=False,
    black_level=0,
    white_level=0,
    gamma=1,
)


@dataclass(frozen=True)
class Overfit:
    """A network trained on one batch again and again at one learning rate."""

    learning_rate: float
    losses: tuple[float, ...]
    """Loss of each step, before its update; the last may be non-finite."""
    reached_at_step: int | None
    """The first step, from 1, whose loss was at most the tolerance; None: there was none."""

    @property
    def lowest_loss(self) -> float | None:
        """The lowest finite loss; None if there is none."""
        return min((loss for loss in self.losses if math.isfinite(loss)), default=None)

    @property
    def diverged(self) -> bool:
        """Whether the loss became infinite or not a number, which ends the training."""
        return not math.isfinite(self.losses[-1])

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a non-finite loss is None."""
        return {
            "learning_rate": self.learning_rate,
            "reached_at_step": self.reached_at_step,
            "lowest_loss": self.lowest_loss,
            "diverged": self.diverged,
            "losses": [loss if math.isfinite(loss) else None for loss in self.losses],
        }


def one_batch(
    images: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[np.ndarray] | np.ndarray,
    config: ExperimentConfig,
    *,
    seed: int = 0,
    **options: Any,
) -> Batch:
    """The first batch of training tiles, without augmentation (paper §3.1's is for generality).

    images, labels and further options: as `samples.training_tiles`, whose errors are raised too.
    The tiles are cut from the middle of the images that the seed's order begins with. Returns image
    (B, C, h, w) float32, labels (B, o, o) int64, weights (B, o, o) float32, with
    B = config.training.batch_size.
    """
    plain = replace(config, augmentation=NO_AUGMENTATION)
    tiles = training_tiles(images, labels, plain, seed=seed, **options)
    return collate([tiles[k] for k in range(config.training.batch_size)])


def overfit_search(
    config: ExperimentConfig,
    batch: Batch,
    rates: Sequence[float] = RATES,
    steps: int = STEPS,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    device: str | torch.device = "cpu",
    *,
    make_network: Callable[..., UNet] = UNet,
    loss: Loss | None = None,
    progress: bool = True,
) -> list[Overfit]:
    """Train on one batch only at each learning rate, until the loss falls to `tolerance`.

    Not in the paper. batch: image (B, C, h, w) float32 in [0, 1], labels (B, o, o) int64, weights
    (B, o, o) float32 ≥ 0, the same in every step (`one_batch`). rates: > 0, each once; the rate is
    constant and has no warm-up, whatever `config` says, so that a row stands for its rate alone
    (our choice). All else, drop-out too, is as in `config`. Every rate begins with the same
    weights, drawn from `seed` as in `loop.train`, and so do make_network and loss replace what
    `config` says. A rate ends early at a loss ≤ tolerance and at a non-finite one.

    Returns one entry per rate, in their order. Raises ValueError for rates, steps and tolerances
    that are none, and for a batch that does not fit the network. PyTorch's own random state is
    left as it was.
    """
    check_search(rates, steps, tolerance)
    place, precision = torch.device(device), config.training.precision
    check_precision(precision, place)
    placed, parts = on_device(batch, place), (make_network, loss)
    with (
        numerics(place, tf32=precision == "tf32"),
        own_drop_out(),
        tqdm(total=len(rates) * steps, unit="step", disable=not progress) as bar,
    ):
        found = []
        for rate in rates:
            bar.set_description(f"learning rate {rate:g}")
            run = new_run(_at(config, rate, steps), seed, place, {}, *parts)
            found.append(_overfit(run, placed, tolerance, bar))
            bar.update(steps - len(found[-1].losses))  # what an early end has saved
    return found


def _overfit(run: Run, batch: Batch, tolerance: float, bar: tqdm) -> Overfit:
    """The training at the learning rate of the run's configuration."""
    settings = run.config.training
    losses: list[float] = []
    reached = None
    while run.step < settings.steps and reached is None:
        losses.append(train_step(run, batch)[0].item())
        run.step += 1
        bar.update()
        bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
        if not math.isfinite(losses[-1]):
            break
        reached = run.step if losses[-1] <= tolerance else None
    return Overfit(settings.learning_rate, tuple(losses), reached)


def _at(config: ExperimentConfig, rate: float, steps: int) -> ExperimentConfig:
    """The configuration at a constant learning rate."""
    constant: Any = {"schedule": "constant", "warmup_steps": 0, "final_learning_rate": 0.0}
    training = replace(config.training, learning_rate=rate, steps=steps, **constant)
    return replace(config, training=training)


def check_search(rates: Sequence[float], steps: int, tolerance: float) -> None:
    """Refuse, with ValueError, what `overfit_search` cannot search with."""
    given = " ".join(f"{rate:g}" for rate in rates) or "(none given)"
    positive = all(math.isfinite(rate) and rate > 0 for rate in rates)
    if not rates or not positive or len(set(rates)) < len(rates):
        raise ValueError(
            f"learning rates {given}: must be different numbers > 0, 1e-4 1e-3 1e-2 say"
        )
    if steps < 1:
        raise ValueError(f"steps = {steps}: must be ≥ 1")
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"tolerance = {tolerance}: must be > 0, {TOLERANCE} say")


def about_batch(batch: Batch) -> str:
    """What there is to learn, in words; that there is nothing, where only one class occurs."""
    labels = batch[1]
    cells = (labels != 0).double().mean().item()
    size = " × ".join(map(str, labels.shape[1:]))
    words = f"batch: {len(labels)} tile(s) with labels of {size} px, {cells:.1%} of them cell"
    if 0 < cells < 1:
        return words
    return (
        f"{words}\nwarning: one class only, which a constant prediction learns: the answer below "
        "says nothing; take a larger --training.input-tile-px or another --seed"
    )


def as_table(found: Sequence[Overfit]) -> str:
    """One line per rate for a terminal: the step that reached the tolerance, the lowest loss."""
    lines = [f"{'learning rate':<15}{'reached at step':>16}{'lowest loss':>13}{'diverged':>10}"]
    for entry in found:
        reached = "–" if entry.reached_at_step is None else str(entry.reached_at_step)
        lowest = "–" if entry.lowest_loss is None else f"{entry.lowest_loss:.4f}"
        diverged = f"step {len(entry.losses)}" if entry.diverged else "no"
        lines.append(f"{entry.learning_rate:<15g}{reached:>16}{lowest:>13}{diverged:>10}")
    return "\n".join(lines)


def answer(found: Sequence[Overfit], steps: int, tolerance: float) -> str:
    """In words, whether the batch can be learnt, and from which rate on."""
    reached = [entry for entry in found if entry.reached_at_step is not None]
    if reached:
        least = min(reached, key=lambda entry: entry.learning_rate)
        return (
            f"yes, from rate {least.learning_rate:g}: the loss on one batch falls to {tolerance:g} "
            f"in step {least.reached_at_step}"
        )
    finite = [(e.lowest_loss, e.learning_rate) for e in found if e.lowest_loss is not None]
    if not finite:
        return "no: at every rate the loss is not finite from the first step on"
    loss, rate = min(finite)
    return (
        f"no: the loss on one batch does not fall to {tolerance:g} in {steps} steps; the lowest is "
        f"{loss:.4f}, at rate {rate:g}"
    )


def draw(found: Sequence[Overfit], tolerance: float, path: Path, *, title: str = "") -> None:
    """The loss over the steps at each learning rate, and the tolerance, as a PNG file."""
    # these take their time to load
    import matplotlib
    import seaborn as sns
    from matplotlib.figure import Figure

    from unet2015.reports.figures import DPI, FONT, write_png

    style: Any = {**sns.axes_style("ticks"), **FONT}
    colours = sns.color_palette("viridis", len(found))
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(8, 5), dpi=DPI, layout="constrained")
        ax = figure.subplots()
        # before anything is drawn: where there is one value only, no limits could be chosen
        ax.set(yscale="log", ylim=_shown_losses(found, tolerance))
        for entry, colour in zip(found, colours, strict=True):
            losses = [loss for loss in entry.losses if math.isfinite(loss)]
            label = f"{entry.learning_rate:g}" + " (diverged)" * entry.diverged
            marker = "o" if len(losses) == 1 else ""
            ax.plot(range(1, len(losses) + 1), losses, color=colour, marker=marker, label=label)
            if entry.reached_at_step is not None:
                ax.plot(entry.reached_at_step, losses[-1], "o", color=colour)
        ax.axhline(tolerance, color="0.4", linestyle="--", label=f"tolerance {tolerance:g}")
        ax.set(xlabel="step", ylabel="loss", title=title or "one batch, over and over")
        ax.legend(title="learning rate", frameon=False)
        sns.despine(figure)
        write_png(figure, path)


def _shown_losses(found: Sequence[Overfit], tolerance: float) -> tuple[float, float]:
    """The lowest and highest loss of the picture; what blows up may leave it at the top."""
    losses = [loss for entry in found for loss in entry.losses if 0 < loss < math.inf]
    top = 10 * max([tolerance, *(entry.losses[0] for entry in found if entry.losses[0] < math.inf)])
    return min([tolerance, *losses]) / 1.25, min(1.25 * max([tolerance, *losses]), top)
