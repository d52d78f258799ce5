"""The page and the figures of the ablations."""

import re

import pytest

from tests.reports.ablation_records import ablation_record, grid
from unet2015.reports.ablations import evidence, mostly, write_ablations
from unet2015.reports.ablations import page as ablations_page
from unet2015.reports.statistics import METRICS, sections
from unet2015.runtime.record import write_record

HELA, U373 = "DIC-C2DH-HeLa", "PhC-C2DH-U373"


def page(records):
    return ablations_page(sections(records))


@pytest.mark.parametrize("dataset", ["isbi2012", HELA])
def test_bold_only_where_the_interval_excludes_zero_and_the_verdict_says_the_same(dataset):
    (section,) = sections(grid(("gelu", "silu"), dataset=dataset))
    signs = ""
    for arm in section.arms:
        told = evidence(arm)
        for difference in arm.differences:
            cell = told[METRICS[difference.metric][0]]
            assert ("**" in cell) is difference.interval.excludes_zero
            assert f"{difference.mean:+.4f}"[:6] in cell
            assert METRICS[difference.metric][0] in told[difference.verdict]
            signs += cell[:3]
    assert "**" in signs
    (few,) = sections(grid(("gelu",), seeds=(0,)))[0].arms
    cells = [evidence(few)[METRICS[difference.metric][0]] for difference in few.differences]
    assert all("**" not in cell and "no interval" in cell for cell in cells)


def test_an_arm_is_called_better_where_half_of_the_metrics_are_and_none_is_worse():
    arms = ("worse", "better", "mixed")
    records = [ablation_record("baseline", 1, s, rand=0.3) for s in range(4)]
    for arm, change in zip(arms, (0.1, -0.1, -0.1), strict=True):
        records += [ablation_record(arm, 1, s, rand=0.3 + change - 0.01 * s) for s in range(4)]
    for record in records[-4:]:
        record["scores"]["rand_error"]["value"] += 0.3
    (section,) = sections(records)
    found = {arm.name: arm for arm in section.arms}
    assert [name for name in arms if mostly(found[name], "better", "worse")] == ["better"]
    assert [name for name in arms if mostly(found[name], "worse", "better")] == ["worse"]
    assert "runs show\n`worse` worse than the baseline and `better` better.\n" in page(records)
    alone = page(records[:4] + records[-4:])
    assert "runs show\nno arm worse than the baseline and none better.\n" in alone


def test_counts_and_reasons_are_shown():
    records = grid(("gelu",))
    records[4] = ablation_record("gelu", 1, 0, outcome="diverged")
    records[5]["training"]["dead_start_steps"] = 60
    text = page(records)
    assert "| `gelu` | 4 | 3 | 1 | 0 | 1 | 3 |" in text
    assert "diverged: the loss is nan" in text
    assert "  Of 4 runs 1 diverged.\n  Of 4 runs 1 had a dead start.\n" in text
    none = page([*grid(()), ablation_record("gelu", 1, 0, outcome="failed")])
    assert "  No pair of runs to compare: 0 of 1 finished.\n  Of 1 runs 1 failed.\n" in none
    alone = page([ablation_record("baseline", 1, 0, outcome="failed")])
    assert "| `baseline` | 1 | 0 | 0 | 1 | 0 | – |" in alone


def test_every_preset_has_its_section_and_says_not_run():
    text = page(grid(("gelu",)))
    assert "## Preset `quick`, baseline 000000000000" in text
    assert "## Preset `paper`\n\nnot run" in text
    assert page([]).count("\n\nnot run\n") == 3
    assert "No arm was run." in page(grid(()))


def of_lengths(arms, lengths=(500, 2000)):
    """The same arms at several lengths; each is better than the baseline at the first one only."""
    records = []
    for k, steps in enumerate(lengths):
        for record in grid(arms):
            config = record["config"]
            training = config["training"] | {"steps": steps}
            gain = 0.05 * k * (arms.index(record["arm"]) + 1 if record["arm"] in arms else 0)
            scores = record["scores"] and {
                name: {
                    "value": each["value"] + (3 * gain if not name.startswith("v_") else -3 * gain)
                }
                for name, each in record["scores"].items()
            }
            records.append(
                record
                | {
                    "name": f"{record['name']}_{steps}",
                    "preset": "long",
                    "baseline_hash": f"{steps:012}",
                    "config": config | {"training": training},
                    "scores": scores,
                    "training": record["training"] | {"steps": steps},
                }
            )
    return records


def test_several_lengths_are_told_side_by_side(tmp_path):
    records = of_lengths(("gelu", "silu"))
    text = page(records)
    assert (
        "| `gelu` | better in 6, worse in 0 of 6 (4 pairs) | better in 0, worse in 6 of 6" in text
    )
    assert "| arm | 500 steps | 2000 steps |" in text
    assert "## Preset `long`, baseline 000000002000, 2000 steps\n" in text
    short, long = sorted(sections(records), key=lambda section: section.steps)
    for section in (short, long):
        for arm in section.arms:
            cell = evidence(arm)["V^Rand"]
            (line,) = (x for x in text.splitlines() if x.startswith(f"| `{arm.name}` | V^Rand |"))
            assert cell in line
    for record in records:
        write_record(tmp_path / "runs", record["name"], record)
    paths = {path.name: path.read_bytes() for path in write_ablations(tmp_path)}
    assert "ablations_long_lengths.png" in paths
    assert "](figures/ablations_long_lengths.png)" in text
    assert {path.name: path.read_bytes() for path in write_ablations(tmp_path)} == paths


def test_one_length_and_other_settings_are_no_lengths():
    one = of_lengths(("gelu",), lengths=(500,))
    assert "when does it pay" not in page(one)
    other = of_lengths(("gelu",), lengths=(2000,))
    for record in other:
        record["config"]["model"] = record["config"]["model"] | {"width": 8}
    assert "when does it pay" not in page(one + other)
    # an arm that was not run at one of the lengths
    part = [r for r in of_lengths(("gelu", "silu")) if r["arm"] != "silu" or "_500" in r["name"]]
    assert "| `silu` | better in 6, worse in 0 of 6 (4 pairs) | not run |" in page(part)


def test_the_phantom_has_a_page_of_its_own(tmp_path):
    records = [record | {"dataset": "phantom"} for record in grid(("gelu",))]
    text = page(records)
    assert "gelu" not in text
    for record in records:
        write_record(tmp_path / "runs", record["name"], record)
    paths = write_ablations(tmp_path)
    assert sorted(path.name for path in paths) == ["ablations.md", "ablations_phantom.md"]
    assert "PHANTOM" in (tmp_path / "ablations_phantom.md").read_text()


def test_each_cell_tracking_set_has_a_page_and_figures_of_its_own(tmp_path):
    records = grid(("gelu", "silu"))
    for record in records:
        write_record(tmp_path / "runs", record["name"], record)
    before = {path.name: path.read_bytes() for path in write_ablations(tmp_path)}
    cells = grid(("gelu", "no_rotation"), folds=(1, 2), dataset=HELA)
    cells[-1] = ablation_record("no_rotation", 2, 1, outcome="diverged", dataset=HELA)
    for record in cells:
        write_record(tmp_path / "runs", record["name"], record)
    paths = {path.name: path for path in write_ablations(tmp_path)}
    figures = {f"ablations_quick_{HELA}_{kind}.png" for kind in ("differences", "curves")}
    assert paths.keys() - before.keys() == {f"ablations_{HELA}.md", *figures}
    # the EM page gets a link, and nothing else changes
    link = f"\nThe same on the cell tracking sets:\n[{HELA}](ablations_{HELA}.md).\n"
    em = paths["ablations.md"].read_text()
    assert em.replace(link, "").encode() == before.pop("ablations.md") != em.encode()
    assert {name: paths[name].read_bytes() for name in before} == before
    text = paths[f"ablations_{HELA}.md"].read_text()
    links = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert {link.removeprefix("figures/") for link in links} == figures
    assert all((tmp_path / link).is_file() for link in links)
    assert "fold 1 is trained on sequence 01 and scored on 02" in text
    assert "| `no_rotation` | 4 | 3 | 1 | 0 | 0 | 3 |" in text
    assert "| SEG | foreground IoU | share of merged cells |" in text
    assert "core_probability 0.9" in text
    assert "silu" not in text
    assert "Rand" not in text
    assert U373 not in text


def test_the_commits_of_a_section_may_differ_and_are_named():
    records = grid(("gelu",))
    records[0]["commit"] = "b" * 40
    records[1]["dirty"] = True
    words = (
        f"- code: commit aaaaaaaaaaaa: {len(records) - 2} run(s); commit aaaaaaaaaaaa, with "
        "uncommitted changes: 1 run(s); commit bbbbbbbbbbbb: 1 run(s)\n"
    )
    assert words in page(records)


def test_page_and_figures_from_the_records_alone_are_the_same_every_time(tmp_path):
    records = grid(("gelu", "silu", "no_rotation", "batch_norm", "pysilu"))
    records[-1] = ablation_record("pysilu", 4, 1, outcome="diverged")
    for record in records:
        write_record(tmp_path / "runs", record["name"], record)
    paths = write_ablations(tmp_path)
    assert [path.name for path in paths] == [
        "ablations.md",
        "ablations_quick_differences.png",
        "ablations_quick_curves.png",
    ]
    before = {path: path.read_bytes() for path in paths}
    assert all(len(content) > 1000 for content in before.values())
    assert write_ablations(tmp_path) == paths
    assert {path: path.read_bytes() for path in paths} == before
    text = paths[0].read_text()
    for link in re.findall(r"\]\((figures/[^)]+)\)", text):
        assert (tmp_path / link).is_file()
