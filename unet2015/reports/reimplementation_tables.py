"""The page of the later re-implementations, from the records alone.

What a system's authors report is the one exception; it stands in the system's file.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from unet2015.reports.tables import COMMAND, markdown_table
from unet2015.runtime.atomic import write_text
from unet2015.runtime.record import read_records

Record = Mapping[str, Any]
System: TypeAlias = Any  # one of studies.reimplementation, which is handed in

PRESETS = ("quick", "published")
COMMANDS = {name: f"python reproduce/reimplementations.py --preset {name}" for name in PRESETS}
HOW_TO_READ = """\
- *As published*: the settings of the repository with the defects that stand below the table.
  *Mended*: the same settings without them. Every defect is an option of the system's own file in
  experiments/reimplementations/, none is in the library.
- *Theirs*: the metric as the system computes it, on what the arm takes for the truth. *Honest*: of
  images that no arm was trained on, with their right labels, thresholded at 0.5; IoU and Dice are
  means over images, "pooled" is over all pixels. An image without foreground counts 1 where none
  is predicted and 0 otherwise: where most images are empty, the mean of a network that finds
  nothing is high, and the pooled figure has to be read beside it.
- A leak between training and validation is a defect of the metric: *theirs* has it in every arm
  of a system, mended or not, so that the two can be compared; *honest* has it in none.
- The data at hand are part of most sets, and `quick` is shorter and often narrower than what was
  published: the published figures stand beside ours to show what they are of, not to be reached.
- One run for each arm and seed: what differs by little may be chance. Of equal runs (settings,
  seed and data) the newest record counts. "not run": there is no record."""


def write_reimplementations(
    records_directory: Path, results_directory: Path, systems: Mapping[str, System]
) -> list[Path]:
    """Write results/reimplementations.md from the records alone; returns the paths written.

    systems: name → what is in its file. Raises FileNotFoundError and ValueError as `read_records`.
    """
    path = results_directory / "reimplementations.md"
    records = read_records(records_directory, "reimplementation")
    results_directory.mkdir(parents=True, exist_ok=True)
    write_text(path, reimplementations_page(records, systems))
    return [path]


def reimplementations_page(records: Sequence[Record], systems: Mapping[str, System]) -> str:
    """The page of the later re-implementations: a section for each, as Markdown."""
    lines = [
        f"<!-- generated from the records in results/runs by: {COMMAND} — do not edit -->",
        "# Five later re-implementations of the U-Net, as published and as mended",
        "## How to read",
        HOW_TO_READ,
    ]
    newest = _newest(records)
    for name, system in systems.items():
        own = [record for record in newest if record["system"] == name]
        lines += [*_section(name, system, own)]
    return "\n\n".join(lines) + "\n"


def _newest(records: Sequence[Record]) -> list[Record]:
    """Of equal runs, of the same data, the newest record; by seed, then by time."""
    found: dict[tuple, Record] = {}
    for record in sorted(records, key=lambda record: (record["started"], record["name"])):
        key = tuple(record[part] for part in ("preset", "system", "arm", "seed", "config_hash"))
        found[key, *sorted(record["data_hashes"].items())] = record
    return sorted(found.values(), key=lambda record: (record["seed"], record["started"]))


def _section(name: str, system: System, records: Sequence[Record]) -> Iterator[str]:
    yield f"## {system.title}\n\n`{name}`, after {system.repository}."
    figures = [f"{what} {figure}" for what, figure in system.published]
    listed = _defects(system, records)
    yield "Published: " + ("; ".join(figures) if figures else "no figure on held-out images") + "."
    for preset in PRESETS:
        arms = system.arms(preset)
        own = [record for record in records if record["preset"] == preset]
        own = [record for arm in arms for record in own if record["arm"] == arm.name]
        if not own:
            yield f"Preset `{preset}`: not run (`{COMMANDS[preset]} {name}`)."
            continue
        yield f"### Preset `{preset}`"
        yield _table(system, arms, own, listed)
        yield _reading(system, own)
        yield "\n".join(_notes(name, preset, own))
    lines = [f"{number}. {defect}" for number, defect in enumerate(listed, start=1)]
    lines += ["", *(f"- not rerun: {text}" for text in system.not_rerun)]
    yield "Defects:\n\n" + "\n".join(lines).rstrip()


def _defects(system: System, records: Sequence[Record]) -> list[str]:
    """The defects of all arms, in the order of the page; those of older records last."""
    arms = [arm for preset in PRESETS for arm in system.arms(preset)]
    named = [*(arm.defects for arm in arms), *(record["defects"] for record in records)]
    return list(dict.fromkeys(defect for defects in named for defect in defects))


def _table(
    system: System, arms: Sequence[Any], records: Sequence[Record], listed: Sequence[str]
) -> str:
    """A line for each record and each arm without one; a column for every metric of one of them.

    listed: the defects, whose numbers on the page stand in the second column.
    """
    columns = [
        (kind, metric)
        for kind in ("theirs", "honest")
        for metric in dict.fromkeys(m for r in records for m in r["metrics"][kind])
    ]
    head = ["arm", "defects", "seed", "trained on", "scored"]
    head += [f"{kind}: {metric}" for kind, metric in columns]
    gains = any(_partner(record, records) is not None for record in records)
    head += [f"Δ {system.compare}, mended − published"] if gains else []
    lines = []
    for arm in arms:
        own = [record for record in records if record["arm"] == arm.name]
        if not own:
            lines.append([f"`{arm.name}`", _numbers(arm.defects, listed), *["not run"] * 3])
        for record in own:
            line = [f"`{arm.name}`", _numbers(record["defects"], listed), str(record["seed"])]
            line += [record["counts"]["trained on"], record["counts"]["scored"]]
            for kind, metric in columns:
                value = record["metrics"][kind].get(metric)
                line.append("" if value is None else f"{value:.4f}")
            partner = _partner(record, records)
            line.append("" if partner is None else f"{_gain(system, partner, record):+.4f}")
            lines.append(line)
    # a line may be shorter than the head, or end with the empty Δ of a table without one
    return markdown_table(head, [(line + [""] * len(head))[: len(head)] for line in lines])


def _numbers(defects: Sequence[str], listed: Sequence[str]) -> str:
    return ", ".join(str(listed.index(defect) + 1) for defect in defects) or "none"


def _reading(system: System, records: Sequence[Record]) -> str:
    """What the difference means: first what the records say, then the system's own words.

    Every figure of the first part stands in a cell of the table.
    """
    readings = (_own_metric, _gains, _two_averages, _nothing_found, _soft, _convergence)
    found = [sentence for reading in readings for sentence in reading(system, records)]
    return " ".join(["**What the difference means.**", *found, system.meaning])


def _own_metric(system: System, records: Sequence[Record]) -> Iterator[str]:
    """The honest metric of each arm beside its own; of more than two, the table says it better."""
    if len({record["arm"] for record in records}) > 2:
        return
    lines = []
    for record in records:
        honest = record["metrics"]["honest"][system.compare]
        theirs = [f"{name} {value:.4f}" for name, value in record["metrics"]["theirs"].items()]
        own = f", while its own metric says {', '.join(theirs)}" if theirs else ""
        lines.append(f"{_shown(record, records)} reaches {system.compare} {honest:.4f}{own}")
    yield "; ".join(lines) + "."


def _gains(system: System, records: Sequence[Record]) -> Iterator[str]:
    """What mending changes: each pair of up to two, and of several in how many it helps."""
    pairs = _pairs(records)
    changes = [_gain(system, *pair) for pair in pairs]
    if len(pairs) <= 2:
        for (published, mended), change in zip(pairs, changes, strict=True):
            verb = "gains" if change >= 0 else "loses"
            what = f"{verb} {abs(change):.4f} on `{published['arm']}`."
            yield f"{_shown(mended, records)} {what}"
    if len(pairs) < 2:
        return
    up, down = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    words = (
        f"Of {len(pairs)} pairs of arms the mended one gains in {up} and loses in {down} "
        f"(Δ {system.compare} from {min(changes):+.4f} to {max(changes):+.4f}), "
        f"{_effort(records)} an arm"
    )
    mixed = ": the signs are mixed, and nothing can be ranked by them" if up and down else ""
    yield f"{words}{mixed}."


def _two_averages(system: System, records: Sequence[Record]) -> Iterator[str]:
    """Where the mean over images and all pixels pooled say the opposite of each other."""
    for pair in _pairs(records):
        before, after = (record["metrics"]["honest"] for record in pair)
        if 0 in (before.get("Dice pooled"), after.get("Dice pooled")):
            continue  # one of them finds nothing, and `_nothing_found` says it
        parts = []
        for name in ("IoU", "Dice"):
            names = (name, f"{name} pooled")
            if not all(each in figures for each in names for figures in (before, after)):
                continue
            one, two = (round(after[n], 4) - round(before[n], 4) for n in names)
            if one * two < 0:
                mean, pooled = (f"from {before[n]:.4f} to {after[n]:.4f}" for n in names)
                verbs = ("rises", "falls") if one > 0 else ("falls", "rises")
                parts.append(
                    f"the mean {name} over images {verbs[0]} {mean} and the pooled {name} "
                    f"{verbs[1]} {pooled}"
                )
        if parts:
            published, mended = (_shown(record, records) for record in pair)
            yield (
                f"From {published} to {mended} {'; '.join(parts)}. The mean weighs every image "
                "alike, the pooled figure by its foreground; with "
                f"{pair[1]['counts']['scored']} and {_seeds(records)} neither alone says which "
                "arm is better."
            )


def _nothing_found(system: System, records: Sequence[Record]) -> Iterator[str]:
    """Arms without one right pixel, and why the mean over images may be high for all that."""
    for record in records:
        figures = record["metrics"]["honest"]
        if figures.get("Dice pooled") != 0 or not figures.get("Dice"):
            continue
        # without a right pixel the Dice of an image is 1 or 0, and 1 only of an empty one
        yield (
            f"{_shown(record, records)} finds no pixel of any foreground (Dice pooled "
            f"{0:.4f}), yet its mean Dice is {figures['Dice']:.4f}: that is the share of images "
            "without foreground where it predicts none, each of which counts 1. A network that "
            "finds nothing looks good where most images are empty."
        )
        for other in records:
            some = other["metrics"]["honest"]
            same = all(other[key] == record[key] for key in ("seed", "data_hashes", "counts"))
            if same and some.get("Dice pooled", 0) > 0 and some["Dice"] < figures["Dice"]:
                yield (
                    f"{_shown(other, records)} finds some (Dice pooled {some['Dice pooled']:.4f}) "
                    f"and has the lower mean, {some['Dice']:.4f}, because it predicts foreground "
                    "in more of the empty images, which then count 0."
                )


def _soft(system: System, records: Sequence[Record]) -> Iterator[str]:
    """How the soft Dice coefficient of a system compares with the thresholded one."""
    pairs = [
        (value, record["metrics"]["honest"]["Dice"])
        for record in records
        for name, value in record["metrics"]["theirs"].items()
        if "soft" in name and "Dice" in record["metrics"]["honest"]
    ]
    below = sum(soft < hard for soft, hard in pairs)
    if pairs:
        why = ", as it is where many probabilities are far from 0 and 1"
        yield (
            f"The soft Dice coefficient, which takes probabilities as they are, lies below the "
            f"thresholded one of the honest figures in {below} of {len(pairs)} runs"
            f"{why if 2 * below > len(pairs) else ''}: it is no measure of the segmentation alone."
        )


def _convergence(system: System, records: Sequence[Record]) -> Iterator[str]:
    """Of the EM stack: which arms learn nothing that a threshold could use.

    The pixel error is the lowest over thresholds, and threshold 0 makes cell everywhere of any
    prediction: so that no arm's is above that of cell everywhere. Two networks have the highest
    one in common, to the last digit, only where it is this one.
    """
    for hashes in dict.fromkeys(tuple(sorted(r["data_hashes"].items())) for r in records):
        own = [r for r in records if tuple(sorted(r["data_hashes"].items())) == hashes]
        figures = [r["metrics"]["honest"] for r in own]
        if not all({"V^Rand", "pixel error"} <= set(each) for each in figures):
            continue
        parts = (
            f"{_shown(record, records)} {each['pixel error']:.4f} and {each['V^Rand']:.4f}"
            for record, each in zip(own, figures, strict=True)
        )
        yield f"Pixel error and V^Rand: {'; '.join(parts)}."
        errors = [each["pixel error"] for each in figures]
        failed = [r for r, error in zip(own, errors, strict=True) if error == max(errors)]
        if len(failed) < 2:
            yield "No two runs share the highest pixel error: none is shown not to converge."
            continue
        yield (
            f"{_listed(failed, records)} have the same pixel error to the last digit, that of a "
            "prediction of cell everywhere: at no threshold are they better."
        )
        yield _cause(failed, [r for r in own if r not in failed], max(errors), records)


def _cause(
    failed: Sequence[Record], others: Sequence[Record], error: float, records: Sequence[Record]
) -> str:
    """What the arms that do not converge have in common, and whether all without it converge.

    error: the pixel error of those that failed; to converge is to halve it (our choice).
    """
    shared = [
        defect
        for defect in failed[0]["defects"]
        if all(defect in record["defects"] for record in failed)
        and not any(defect in record["defects"] for record in others)
    ]
    halved = [r for r in others if r["metrics"]["honest"]["pixel error"] <= error / 2]
    if not (shared and halved) or len(halved) < len(others):
        return "Why, the records do not say: no defect parts these runs from others that halve it."
    mended = any(record["arm"] == "mended" for record in others)
    return (
        f"They share what no other arm has ({'; '.join(shared)}). So the answer is: with it the "
        f"network does not converge in these runs ({_effort(records)} an arm); without it, "
        f"{_listed(others, records)} at least halve that error"
        f"{', `mended` with rotation and border weights on' * mended}."
    )


def _listed(chosen: Sequence[Record], records: Sequence[Record]) -> str:
    return " and ".join(_shown(record, records) for record in chosen)


def _shown(record: Record, records: Sequence[Record]) -> str:
    """The name of an arm, with the seed where there are several."""
    several = len({each["seed"] for each in records}) > 1
    return f"`{record['arm']}`" + (f" (seed {record['seed']})" if several else "")


def _seeds(records: Sequence[Record]) -> str:
    count = len({record["seed"] for record in records})
    return "one seed" if count == 1 else f"{count} seeds"


def _effort(records: Sequence[Record]) -> str:
    steps = sorted({record["training"]["steps"] for record in records})
    shown = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    return f"{_seeds(records)} and {shown} steps"


def _pairs(records: Sequence[Record]) -> list[tuple[Record, Record]]:
    """(published, mended) of each mended arm that has a partner."""
    partners = [(_partner(record, records), record) for record in records]
    return [(partner, record) for partner, record in partners if partner is not None]


def _partner(record: Record, records: Sequence[Record]) -> Record | None:
    """The newest published arm of a mended one's suffix, seed and data."""
    if not record["arm"].startswith("mended"):
        return None
    partners = [
        other
        for other in records
        if other["arm"] == record["arm"].replace("mended", "published", 1)
        and other["seed"] == record["seed"]
        and other["data_hashes"] == record["data_hashes"]
    ]
    return partners[-1] if partners else None


def _gain(system: System, first: Record, second: Record) -> float:
    """How much more the second has of the honest metric, of the figures as the page shows them."""
    after, before = (record["metrics"]["honest"][system.compare] for record in (second, first))
    return round(after, 4) - round(before, 4)


def _where(record: Record) -> str:
    hardware = record["hardware"]
    return ", ".join(hardware["accelerators"]) or f"{hardware['cpu']}, {hardware['cores']} cores"


def _notes(name: str, preset: str, records: Sequence[Record]) -> Iterator[str]:
    for source, trained, scored in dict.fromkeys(
        (r["source"], r["counts"]["trained on"], r["counts"]["scored"]) for r in records
    ):
        yield f"- data at hand: {source}; trained on {trained}, honest figures of {scored}"
    for seed in dict.fromkeys(record["seed"] for record in records):
        option = f" --seed {seed}" if seed else ""
        yield f"- command: `{COMMANDS[preset]} {name}{option}`"
    for where in dict.fromkeys(map(_where, records)):
        runs = ", ".join(
            f"`{r['arm']}` {r['training']['steps']} steps, {r['wall_time_s'] / 60:.1f} min"
            for r in records
            if _where(r) == where
        )
        yield f"- {runs}, on {where}"
    changed = dict.fromkeys(line for record in records for line in record["deviations"])
    if changed:
        yield "- deviations from the published settings: " + "; ".join(changed)
    yield "- records: " + ", ".join(f"`{record['name']}`" for record in records)
