"""The page of the later re-implementations, from the records alone.

What a system's authors report is the one exception; it stands in the system's file.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unet2015.atomic import write_text
from unet2015.record import read_records
from unet2015.reimplementation import Arm, System
from unet2015.tables import COMMAND, markdown_table

Record = Mapping[str, Any]

PRESETS = ("quick", "published")
COMMANDS = {name: f"python reproduce/reimplementations.py --preset {name}" for name in PRESETS}
HOW_TO_READ = """\
- *As published*: the settings of the repository with the defects that stand below the table.
  *Mended*: the same settings without them. Every defect is an option of the system's own file in
  experiments/reimplementations/, none is in the library.
- *Theirs*: the metric as the system computes it, on what the arm takes for the truth. *Honest*: of
  images that no arm was trained on, with their right labels, thresholded at 0.5; IoU and Dice are
  means over images, "pooled" is over all pixels. An image without foreground counts 1 where none
  is predicted and 0 otherwise.
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
    system: System, arms: Sequence[Arm], records: Sequence[Record], listed: Sequence[str]
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
    """What the difference means: the honest metric of every arm, and how their own one compares.

    Its figures are those of the table.
    """
    seeds = len({record["seed"] for record in records}) > 1
    lines, gains = [], ""
    for record in records:
        arm = f"`{record['arm']}`" + (f" (seed {record['seed']})" if seeds else "")
        honest = record["metrics"]["honest"][system.compare]
        theirs = [f"{name} {value:.4f}" for name, value in record["metrics"]["theirs"].items()]
        own = f", while its own metric says {', '.join(theirs)}" if theirs else ""
        lines.append(f"{arm} reaches {system.compare} {honest:.4f}{own}")
        partner = _partner(record, records)
        if partner is not None:
            change = _gain(system, partner, record)
            verb = "gains" if change >= 0 else "loses"
            gains += f" {arm} {verb} {abs(change):.4f} on `{partner['arm']}`."
    return f"**What the difference means.** {'; '.join(lines)}.{gains} {system.meaning}"


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
    for source in dict.fromkeys(record["source"] for record in records):
        yield f"- data: {source}"
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
