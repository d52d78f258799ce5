"""The page of the later re-implementations: every figure from a record, and what they mean."""

import re
from pathlib import Path
from typing import Any

import pytest
from unet2015.experiments.reimplementations.em_unaligned import NO_DISTANCE, UNALIGNED

from tests.reports.markdown import lines
from tests.reports.reimplementation_records import (
    CPU,
    SYSTEMS,
    em_metrics,
    paragraph,
    record,
    section,
)
from unet2015.reports.reimplementations import page, write_reimplementations
from unet2015.runtime.record import read_records, write_record


def test_without_records_every_system_says_not_run():
    whole = page([], SYSTEMS)
    assert whole.count("\n## ") == len(SYSTEMS)
    for name in SYSTEMS:
        own = section(whole, name)
        for preset in ("quick", "published"):
            command = f"python reproduce/reimplementations.py --preset {preset} {name}"
            assert f"Preset `{preset}`: not run (`{command}`)." in own
        assert "Published: " in own
        assert "\n1. " in own
        assert not lines(own)
    assert "IoU, validation 0.62; Dice, validation 0.76" in section(whole)


def test_each_figure_stands_in_the_line_of_its_arm():
    whole = section(page([record(), record("mended", 0.8567)], SYSTEMS))
    (head,) = lines(whole, "| defects |")
    assert head == [
        *("arm", "defects", "seed", "trained on", "scored"),
        *("theirs: IoU pooled", "theirs: Dice pooled"),
        *("honest: IoU", "honest: Dice", "honest: IoU pooled", "honest: Dice pooled"),
        "Δ Dice pooled, mended − published",
    ]
    (published,) = lines(whole, "`published`")
    assert published == [
        *("`published`", "1, 2, 3", "0", "190 slices", "80 slices of 3 patients"),
        *("0.5111", "0.6222", "0.6123", "0.7234", "0.6345", "0.7456", ""),
    ]
    (mended,) = lines(whole, "`mended`")
    assert mended[:3] == ["`mended`", "none", "0"]
    assert mended[-2:] == ["0.8567", "+0.1111"]


def test_the_numbers_of_defects_are_those_of_the_list():
    found = [record("unaligned", system="em_unaligned", metrics=em_metrics(0.1))]
    whole = section(page(found, SYSTEMS), "em_unaligned")
    (line,) = lines(whole, "`unaligned`")
    listed = dict(re.findall(r"^(\d)\. (.*)$", whole, re.MULTILINE))
    assert [listed[number] for number in line[1].split(", ")] == found[0]["defects"]
    assert "- not rerun: JPEG labels" in whole


def test_an_arm_without_record_is_not_run():
    whole = section(page([record("mended", 0.8)], SYSTEMS))
    (line,) = lines(whole, "`published`")
    assert line[:5] == ["`published`", "1, 2, 3", "not run", "not run", "not run"]
    assert not any(line[5:])
    (head,) = lines(whole, "| defects |")
    assert len(line) == len(head)
    assert "Δ" not in whole  # there is nothing to compare with
    assert "gains" not in paragraph(whole)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (0.7456, 0.8567, "`mended` gains 0.1111 on `published`."),
        (0.8567, 0.7456, "`mended` loses 0.1111 on `published`."),
        # of what the table shows, 0.1234 and 0.2346, though 0.11112 is what lies between
        (0.12344, 0.23456, "`mended` gains 0.1112 on `published`."),
    ],
)
def test_what_the_difference_means(before, after, words):
    whole = section(page([record(dice=before), record("mended", after)], SYSTEMS))
    text = paragraph(whole)
    assert words in text
    assert f"`published` reaches Dice pooled {before:.4f}" in text
    assert "its own metric says IoU pooled 0.5111, Dice pooled 0.6222" in text
    assert text.endswith(SYSTEMS["lgg_mri"].meaning)


def test_every_figure_of_the_paragraph_is_in_a_cell_of_its_table():
    found = []
    for k, (name, system) in enumerate(SYSTEMS.items()):
        for j, each in enumerate(system.arms("quick")):
            value = 0.1 + 0.0777 * k + 0.01234 * j
            metrics = {
                "theirs": {"soft Dice of theirs": value / 3},
                "honest": {"Dice": value / 2, "Dice pooled": 1 - value, system.compare: value},
            }
            if name == "em_unaligned":
                metrics["honest"] |= {"V^Rand": 1 - value, "pixel error": value / (8, 4)[j < 2]}
            run = {"system": name, "metrics": metrics, "name": f"{name}_{each.name}"}
            found.append(record(each.name, **run))
    whole = page(found, SYSTEMS)
    for name, system in SYSTEMS.items():
        own = section(whole, name)
        cells = {cell.lstrip("+-") for line in lines(own) for cell in line}
        text = paragraph(own).removesuffix(system.meaning)
        figures = re.findall(r"\d+\.\d+", text)
        # each arm's, or of more than two arms those of the extreme pairs
        assert len(figures) >= min(4, len(system.arms("quick")))
        assert set(figures) <= cells
        # the words beside them are without a figure of a run
        assert not re.findall(r"\d\.\d{3,}", system.meaning)


def test_of_equal_runs_the_newest_counts():
    old = record(dice=0.1111, started="2025-12-31T00:00:00Z")
    for records in ([old, record(dice=0.2222)], [record(dice=0.2222), old]):
        whole = page(records, SYSTEMS)
        assert "0.2222" in whole
        assert "0.1111" not in whole
        assert old["name"] not in whole


def test_runs_of_other_data_are_other_runs_and_are_not_compared():
    other = record("mended", 0.9, data_hashes={"images": "c", "masks": "d"}, source="the whole set")
    whole = section(page([record(), other], SYSTEMS))
    assert "Δ" not in whole
    used = "trained on 190 slices, honest figures of 80 slices of 3 patients |"
    assert f"| a part of the set; {used}" in whole
    assert f"| the whole set; {used}" in whole
    again = record(dice=0.3333, data_hashes={"images": "c", "masks": "d"})
    whole = section(page([record(), other, again], SYSTEMS))
    assert len(lines(whole, "`published`")) == 2
    assert lines(whole, "`mended`")[0][-1] == "+0.5667"


def test_seeds_stand_in_lines_of_their_own_and_are_compared_by_seed():
    found = [
        record("mended", 0.65, seed=1),
        record(dice=0.6, seed=1),
        record("mended", 0.8),
        record(dice=0.7),
    ]
    whole = section(page(found, SYSTEMS))
    assert [line[2] for line in lines(whole, "`published`")] == ["0", "1"]
    assert [line[-1] for line in lines(whole, "`mended`")] == ["+0.1000", "+0.0500"]
    assert "`mended` (seed 1) gains 0.0500 on `published`." in paragraph(whole)


def test_presets_are_never_mixed():
    whole = section(page([record(), record("mended", 0.8, preset="published")], SYSTEMS))
    quick, published = whole.split("### Preset `published`")
    assert "### Preset `quick`" in quick
    assert lines(quick, "`mended`")[0][2] == "not run"
    assert lines(published, "`mended`")[0][2] == "0"


def test_where_and_how_it_was_run():
    gpu = record("mended", 0.8, hardware=CPU | {"accelerators": ["a GPU"]})
    whole = section(page([record(), gpu], SYSTEMS))
    command = "python reproduce/reimplementations.py --preset quick lgg_mri"
    assert f"`{command}`, with `--seed` for another seed." in whole
    assert "Deviations from the published settings: 12 epochs (published: 50)." in whole
    (cpu,) = lines(whole, "accelerator: none")
    assert cpu[0] == "[run_published_0.7456](runs/run_published_0.7456.json)"
    assert cpu[-3:] == ["wall time 2.5 min, peak memory not known", "180", "1.7"]
    data = "a part of the set; trained on 190 slices, honest figures of 80 slices of 3 patients"
    assert f"data of all: {data}\n" in whole
    assert lines(whole, "accelerator: a GPU")[0][0].startswith("[run_mended_0.8]")


def test_the_same_records_give_the_same_bytes_in_any_order(tmp_path: Path):
    found = [record(), record("mended", 0.8), record(dice=0.6, seed=1)]
    whole = page(found, SYSTEMS)
    assert page(found[::-1], SYSTEMS) == whole
    for each in found:
        write_record(tmp_path / "runs", str(each["name"]), each)
    (path,) = write_reimplementations(tmp_path, SYSTEMS)
    first = path.read_bytes()
    assert b"0.8000" in first
    assert write_reimplementations(tmp_path, SYSTEMS)[0].read_bytes() == first


@pytest.mark.parametrize("field", ["system", "arm", "preset", "defects", "metrics", "counts"])
def test_a_record_that_lacks_what_the_page_needs_is_named(tmp_path: Path, field):
    broken = record()
    del broken[field]
    write_record(tmp_path, "broken", broken)
    with pytest.raises(ValueError, match=rf"broken_\d.*required field `{field}`"):
        read_records(tmp_path)


def test_without_a_folder_of_records_there_is_no_page(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no such folder of records"):
        write_reimplementations(tmp_path, SYSTEMS)
    assert not list(tmp_path.glob("*.md"))


def reading(system: str, *runs: tuple[str, dict[str, float]], **fields: Any) -> str:
    """The paragraph of runs (arm, honest metrics), without the system's own words."""
    found = [
        record(arm, system=system, name=f"run {k}", metrics=judged(honest), **fields)
        for k, (arm, honest) in enumerate(runs)
    ]
    own = section(page(found, SYSTEMS), system)
    return paragraph(own).removesuffix(SYSTEMS[system].meaning)


def judged(honest: dict[str, float], **theirs: float) -> dict[str, dict[str, float]]:
    return {"theirs": theirs, "honest": honest}


def carvana(**dice: float) -> list[tuple[str, dict[str, float]]]:
    return [(arm, {"Dice": value}) for arm, value in dice.items()]


def test_pairs_of_both_signs_rank_nothing():
    runs = {"published_relu": 0.9, "mended_relu": 0.85, "published_gelu": 0.9, "mended_gelu": 0.97}
    words = "Of 2 pairs of arms the mended one gains in 1 and loses in 1"
    effort = "(Δ Dice from -0.0500 to +0.0700), one seed and 180 steps an arm"
    verdict = ": the signs are mixed, and nothing can be ranked by them."
    text = reading("carvana_activations", *carvana(**runs))
    assert f"{words} {effort}{verdict}" in text
    assert "`mended_relu` loses 0.0500 on `published_relu`." in text
    runs |= {"mended_relu": 0.91, "published_silu": 0.9, "mended_silu": 0.9}
    text = reading("carvana_activations", *carvana(**runs))
    assert "Of 3 pairs of arms the mended one gains in 2 and loses in 0 (Δ Dice from +0" in text
    assert "ranked" not in text
    # the table has them
    assert "`mended_relu` gains" not in text
    assert " reaches Dice " not in text
    assert "pairs" not in reading("carvana_activations", *carvana(published_relu=1, mended_relu=0))


def test_the_steps_and_seeds_of_pairs_are_those_of_the_records():
    found = [
        record(arm, 0.5, seed=seed, training={"steps": 60 + seed, "seconds": 1, "final_loss": 0})
        for arm in ("published", "mended")
        for seed in (0, 1)
    ]
    assert "2 seeds and 60 to 61 steps an arm" in page(found, SYSTEMS)


def both(iou: float, pooled: float) -> dict[str, float]:
    """IoU and Dice that agree with each other."""
    return {
        **{"IoU": iou, "IoU pooled": pooled},
        **{"Dice": 2 * iou / (1 + iou), "Dice pooled": 2 * pooled / (1 + pooled)},
    }


def test_two_averages_that_disagree_are_both_said():
    counts = {"trained on": "12 images", "scored": "6 images"}
    before, after = ("published", both(0.4, 0.62)), ("mended", both(0.55, 0.6))
    text = reading("nuclei", before, after, counts=counts)
    assert "`mended` gains 0.1500 on `published`." in text
    assert (
        "From `published` to `mended` the mean IoU over images rises from 0.4000 to 0.5500 and the "
        "pooled IoU falls from 0.6200 to 0.6000; the mean Dice over images rises from 0.5714 to "
        "0.7097 and the pooled Dice falls from 0.7654 to 0.7500."
    ) in text
    assert "with 6 images and one seed neither alone says which arm is better" in text
    text = reading("nuclei", ("published", after[1]), ("mended", before[1]))
    assert "the mean IoU over images falls from 0.5500 to 0.4000 and the pooled IoU rises" in text
    text = reading("nuclei", before, ("mended", both(0.55, 0.63)))
    assert "over images" not in text


def test_the_mean_of_an_arm_that_finds_nothing_is_explained():
    nothing, some = both(0.0, 0.0) | {"IoU": 0.65, "Dice": 0.65}, both(0.3, 0.1)
    text = reading("lgg_mri", ("published", nothing), ("mended", some))
    assert (
        "`published` finds no pixel of any foreground (Dice pooled 0.0000), yet its mean Dice is "
        "0.6500: that is the share of images without foreground where it predicts none"
    ) in text
    assert "`mended` finds some (Dice pooled 0.1818) and has the lower mean, 0.4615" in text
    assert "neither alone" not in text
    better = reading("lgg_mri", ("published", nothing), ("mended", both(0.8, 0.7)))
    assert "`published` finds no pixel" in better
    assert "lower mean" not in better
    assert "finds no pixel" not in reading("lgg_mri", ("published", both(0.6, 0.01)))
    # nothing is high about 0
    assert "finds no pixel" not in reading("lgg_mri", ("published", both(0.0, 0.0)))


def test_the_mean_of_an_arm_on_other_images_is_not_explained_by_it():
    metrics = judged(both(0.0, 0.0) | {"Dice": 0.65})
    found = [
        record(metrics=metrics),
        record("mended", metrics=judged(both(0.3, 0.1)), data_hashes={"images": "c"}),
    ]
    text = paragraph(section(page(found, SYSTEMS)))
    assert "`published` finds no pixel" in text
    assert "lower mean" not in text


def test_soft_coefficients_below_thresholded_ones_are_counted():
    def text(*soft: float) -> str:
        arms = ("published", "mended")
        found = [
            record(arm, system="nuclei", metrics=judged(both(0.5, 0.6), **{"Dice, soft": value}))
            for arm, value in zip(arms, soft, strict=True)
        ]
        return paragraph(section(page(found, SYSTEMS), "nuclei"))

    assert "honest figures in 2 of 2 runs, as it is where many probabilities are far" in text(0, 0)
    assert "honest figures in 1 of 2 runs: it is no measure" in text(0.9, 0.1)
    assert "soft" not in reading("nuclei", ("published", both(0.5, 0.6)))


def em(**errors: float) -> list[tuple[str, dict[str, float]]]:
    """Runs of the EM arms with these pixel errors; V^Rand is 1 − 5 of them."""
    return [
        (arm, em_metrics(0.5)["honest"] | {"pixel error": error, "V^Rand": 1 - 5 * error})
        for arm, error in errors.items()
    ]


CELL_EVERYWHERE = 0.1089012345
FAILED = {"published": CELL_EVERYWHERE, "unaligned": CELL_EVERYWHERE}


def test_whether_the_em_arm_converges_is_answered():
    text = reading("em_unaligned", *em(**FAILED, aligned=0.05, mended=0.04))
    assert (
        "Pixel error and V^Rand: `published` 0.1089 and 0.4555; `unaligned` 0.1089 and 0.4555; "
        "`aligned` 0.0500 and 0.7500; `mended` 0.0400 and 0.8000. `published` and `unaligned` have "
        "the same pixel error to the last digit, that of a prediction of cell everywhere"
    ) in text
    assert (
        f"They share what no other arm has ({UNALIGNED}). So the answer is: with it the network "
        "does not converge in these runs (one seed and 180 steps an arm); without it, `aligned` "
        "and `mended` at least halve that error, `mended` with rotation and border weights on."
    ) in text
    assert "border weights" not in reading("em_unaligned", *em(**FAILED, aligned=0.05))


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        # one more digit than the page shows
        (FAILED | {"unaligned": 0.1089012344, "mended": 0.04}, "No two runs share the highest"),
        ({"unaligned": CELL_EVERYWHERE}, "No two runs share the highest"),
        # the misalignment is gone, and still the error is not halved
        (FAILED | {"aligned": 0.06, "mended": 0.04}, "Why, the records do not say"),
        # it is not the misalignment that parts them
        ({"unaligned": 0.04, "published": 0.1, "mended": 0.1}, "Why, the records do not say"),
        (FAILED, "Why, the records do not say"),
        # what they share is more than the misalignment
        (FAILED | {"mended": 0.04}, f"({UNALIGNED}; {NO_DISTANCE})"),
    ],
)
def test_what_the_em_arms_do_not_show_is_not_concluded(errors, words):
    text = reading("em_unaligned", *em(**errors))
    assert words in text
    assert ("So the answer is" in text) == words.startswith("(")


def test_em_runs_of_other_data_are_not_compared():
    (first, second), other = em(**FAILED), em(mended=0.2)[0]
    found = [
        record(arm, system="em_unaligned", metrics=judged(honest), data_hashes={"labels": labels})
        for (arm, honest), labels in ((first, "a"), (second, "a"), (other, "b"))
    ]
    text = paragraph(section(page(found, SYSTEMS), "em_unaligned"))
    assert "`published` and `unaligned` have the same pixel error" in text
    assert text.count("Pixel error and V^Rand:") == 2


def test_a_system_without_a_mended_arm_says_why():
    for system in SYSTEMS.values():
        mended = any(arm.name.startswith("mended") for arm in system.arms("quick"))
        assert ("There is no `mended` arm because" in system.meaning) != mended
