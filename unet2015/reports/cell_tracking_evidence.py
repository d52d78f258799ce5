"""What the records say for and against the claim to test on the cell tracking sets.

"The border weights raise SEG on DIC-HeLa by separating touching cells and matter little on U373."
A pair is a run of a preset and one of an arm with the same data set, direction and seed, whose
settings differ in what the arm changes and in nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from unet2015.reports.cell_tracking_rows import (
    DIRECTIONS,
    NO_ARM,
    SETS,
    Record,
    Row,
    age,
    argmax_seg,
    differing,
    mean_of_seeds,
)
from unet2015.reports.tables import markdown_table

BORDER_ARM = "no_border_weight"
ARMS = {
    BORDER_ARM: {"weight_map.w0"},
    "no_class_weight": {"weight_map.class_weights"},
    "no_elastic": {"augmentation.elastic_sigma_px"},
    "cell_tracking_no_ridge": {"weight_map.separate_touching"},
    "cell_tracking_later_weights": {
        *("weight_map.w0", "weight_map.sigma_px"),
        *("weight_map.class_weights", "weight_map.border_term"),
    },
}
"""Arm → the settings that it changes."""
U373, HELA = SETS
CLAIM = """\
The claim to test: the border weights raise SEG on DIC-HeLa by separating touching cells, and matter
little on PhC-U373. A pair of runs differs in the border weights alone: data set, direction, seed
and all other settings are the same (the commit may not be, see Runs). Δ: with − without. Merged:
gold masks that share their predicted cell, so fewer is better. "Little" is measured on DIC-HeLa:
that SEG changes by less than there, in the same direction and with the same seed."""
CORES = """\
Cores (our addition) divide touching cells too, and may so do the work of the border weights: what
the paper claims is of the components of the argmax, whose SEG is the second group of columns. The
merged cells were counted with cores."""
OTHER_ARMS = "The other arms, each beside its preset (Δ: preset − arm):"
NOTHING = "Not run: there is no record of an arm."


@dataclass(frozen=True)
class Pair:
    """A run of the preset and one of the arm, equal in everything else."""

    preset: Record
    arm: Record

    @property
    def part(self) -> tuple[str, int]:
        """What a pair of the other data set must share to be beside this one."""
        return self.arm["train_sequence"], self.arm["seed"]

    @property
    def seg(self) -> float:
        """SEG of the preset less that of the arm."""
        return _seg(self.preset) - _seg(self.arm)

    @property
    def argmax_seg(self) -> float | None:
        """The same of the components of the argmax; None where a record lacks it."""
        ours, theirs = argmax_seg(self.preset), argmax_seg(self.arm)
        return None if ours is None or theirs is None else ours - theirs

    @property
    def merged(self) -> int:
        """Merged cells of the preset less those of the arm."""
        return self.preset["scores"]["merged"] - self.arm["scores"]["merged"]


def evidence(found: Sequence[Row]) -> Iterator[str]:
    """The parts of 'What the evidence says': figures with and without, and the verdict.

    found: as `cell_tracking_rows.rows` gives them. Arms without any record are named.
    """
    arms = [row for row in found if row.arm != NO_ARM]
    border = [row for row in arms if row.arm == BORDER_ARM]
    others = [row for row in arms if row.arm != BORDER_ARM]
    presets = [row for row in found if row.arm == NO_ARM]
    yield CLAIM
    if border:
        yield _table(border, presets, ("with", "without"))
        if any(row.has_cores for row in border):
            yield CORES
    for row in border:
        yield "\n".join(_verdicts(row, presets))
    if others:
        yield OTHER_ARMS + "\n\n" + _table(others, presets, ("preset", "arm"))
    if not arms:
        yield NOTHING
    if missing := [arm for arm in ARMS if arm not in {row.arm for row in arms}]:
        names = "\n".join(f"- `{arm}`: not run" for arm in missing)
        yield "Arms without a record of a sequence that was left out:\n\n" + names


def pairs(row: Row, presets: Sequence[Row], dataset: str, direction: tuple[str, str]) -> list[Pair]:
    """The arm's runs of a data set and direction, each with the newest run that is its equal."""
    found = []
    for ours in row.of(dataset, direction):
        equals = [
            theirs
            for preset in presets
            if preset.preset == row.preset
            for theirs in preset.of(dataset, direction)
            if theirs["seed"] == ours["seed"]
            and differing(theirs, ours).keys() <= ARMS.get(row.arm, set())
        ]
        if equals:
            found.append(Pair(max(equals, key=age), ours))
    return found


def _table(arms: Sequence[Row], presets: Sequence[Row], words: tuple[str, str]) -> str:
    head = ["", "data set", "scored on", "seeds"]
    for figure in ("SEG", "argmax SEG"):
        head += [f"{figure} {words[0]}", words[1], "Δ"]
    head += [f"merged {words[0]}", words[1]]
    lines = []
    for row in arms:
        for dataset, name in SETS.items():
            for direction in DIRECTIONS:
                figures = _figures(row, presets, dataset, direction)
                lines.append([row.name, name, direction[1], *figures])
    return markdown_table(head, lines)


def _figures(
    row: Row, presets: Sequence[Row], dataset: str, direction: tuple[str, str]
) -> list[str]:
    """Number of seeds, SEG of the preset and the arm and their difference, the merged cells."""
    found = pairs(row, presets, dataset, direction)
    ours = [pair.preset for pair in found]
    theirs = [pair.arm for pair in found] or row.of(dataset, direction)
    cells = [str(len(theirs))]
    for figure in (_seg, argmax_seg):
        first, second = [figure(r) for r in ours], [figure(r) for r in theirs]
        cells += [_mean(first), _mean(second), _difference(first, second)]
    return [*cells, _merged(ours), _merged(theirs)]


def _seg(record: Record) -> float:
    return record["scores"]["seg"]


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "not recorded"
    return mean_of_seeds(known) if known else "not run"


def _difference(first: Sequence[float | None], second: Sequence[float | None]) -> str:
    """Mean of the pairs' differences, with its sign; nothing where one side is missing."""
    found = [a - b for a, b in zip(first, second, strict=False) if a is not None and b is not None]
    if len(found) < len(second) or not found:
        return ""
    return ("+" if fmean(found) >= 0 else "") + mean_of_seeds(found)


def _merged(records: Sequence[Record]) -> str:
    return f"{fmean(r['scores']['merged'] for r in records):g}" if records else "not run"


def _verdicts(row: Row, presets: Sequence[Row]) -> Iterator[str]:
    """Both halves of the claim, judged by nothing but the signs of the pairs' differences."""
    of_u373, of_hela = (
        [pair for direction in DIRECTIONS for pair in pairs(row, presets, dataset, direction)]
        for dataset in (U373, HELA)
    )
    yield f"The verdict of {row.settings_name}:\n"
    signs = {"SEG is higher with them": [pair.seg > 0 for pair in of_hela]}
    if row.has_cores:
        signs["the argmax SEG is higher"] = _known_signs(of_hela)
    signs["fewer cells are merged"] = [pair.merged < 0 for pair in of_hela]
    yield _sentence(
        f"{SETS[HELA]}, that the border weights raise SEG by separating touching cells",
        signs,
        of_hela,
    )
    beside = {pair.part: pair for pair in of_hela}
    both = [(pair, beside[pair.part]) for pair in of_u373 if pair.part in beside]
    signs = {"SEG changes by less than on DIC-HeLa": [abs(u.seg) < abs(h.seg) for u, h in both]}
    if row.has_cores:
        known = [(u.argmax_seg, h.argmax_seg) for u, h in both]
        signs["the argmax SEG does"] = [
            abs(u) < abs(h) for u, h in known if u is not None and h is not None
        ]
    yield _sentence(f"{SETS[U373]}, that they matter little", signs, of_u373)


def _known_signs(found: Sequence[Pair]) -> list[bool]:
    known = [pair.argmax_seg for pair in found]
    return [value > 0 for value in known if value is not None]


def _sentence(claim: str, signs: dict[str, list[bool]], found: Sequence[Pair]) -> str:
    """The verdict on half of the claim, and on how many runs it rests."""
    if not found:
        return f"- {claim}: **not run**."
    seeds = len({pair.arm["seed"] for pair in found})
    rests = (
        f"That is {_number(len(found), 'pair')} of runs with {_number(seeds, 'seed')}; "
        f"{'one seed' if seeds == 1 else 'so few'} cannot settle it."
    )
    every = [sign for of_figure in signs.values() for sign in of_figure]
    if not every:
        return f"- {claim}: **not judged**, there is no pair of {SETS[HELA]} beside it. {rests}"
    verdict = "borne out" if all(every) else "mixed" if any(every) else "not borne out"
    counts = "; ".join(f"{words} in {sum(of)} of {len(of)}" for words, of in signs.items() if of)
    return f"- {claim}: **{verdict}** ({counts}). {rests}"


def _number(count: int, word: str) -> str:
    return f"{count} {word}" + "s" * (count != 1)
