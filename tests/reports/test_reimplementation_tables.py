"""The page of the later re-implementations: every figure from a record, and the committed page."""

import re
from pathlib import Path

import pytest

from tests.reports.reimplementation_records import (
    CPU,
    SYSTEMS,
    em_metrics,
    lines,
    paragraph,
    record,
    section,
)
from unet2015.reports.reimplementation_tables import reimplementations_page, write_reimplementations
from unet2015.runtime.record import REPOSITORY, read_records, write_record


def test_without_records_every_system_says_not_run():
    page = reimplementations_page([], SYSTEMS)
    assert page.count("\n## ") == 1 + len(SYSTEMS)
    for name in SYSTEMS:
        own = section(page, name)
        for preset in ("quick", "published"):
            command = f"python reproduce/reimplementations.py --preset {preset} {name}"
            assert f"Preset `{preset}`: not run (`{command}`)." in own
        assert "Published: " in own
        assert "\n1. " in own
        assert not lines(own)
    assert "IoU, validation 0.62; Dice, validation 0.76" in section(page)


def test_each_figure_stands_in_the_line_of_its_arm():
    page = section(reimplementations_page([record(), record("mended", 0.8567)], SYSTEMS))
    (head,) = lines(page, "trained on")
    assert head == [
        *("arm", "defects", "seed", "trained on", "scored"),
        *("theirs: IoU pooled", "theirs: Dice pooled"),
        *("honest: IoU", "honest: Dice", "honest: IoU pooled", "honest: Dice pooled"),
        "Δ Dice pooled, mended − published",
    ]
    (published,) = lines(page, "`published`")
    assert published == [
        *("`published`", "1, 2, 3", "0", "190 slices", "80 slices of 3 patients"),
        *("0.5111", "0.6222", "0.6123", "0.7234", "0.6345", "0.7456", ""),
    ]
    (mended,) = lines(page, "`mended`")
    assert mended[:3] == ["`mended`", "none", "0"]
    assert mended[-2:] == ["0.8567", "+0.1111"]


def test_the_numbers_of_defects_are_those_of_the_list():
    found = [record("unaligned", system="em_unaligned", metrics=em_metrics(0.1))]
    page = section(reimplementations_page(found, SYSTEMS), "em_unaligned")
    (line,) = lines(page, "`unaligned`")
    listed = dict(re.findall(r"^(\d)\. (.*)$", page, re.MULTILINE))
    assert [listed[number] for number in line[1].split(", ")] == found[0]["defects"]
    assert "- not rerun: JPEG labels" in page


def test_an_arm_without_record_is_not_run():
    page = section(reimplementations_page([record("mended", 0.8)], SYSTEMS))
    (line,) = lines(page, "`published`")
    assert line[:5] == ["`published`", "1, 2, 3", "not run", "not run", "not run"]
    assert not any(line[5:])
    (head,) = lines(page, "trained on")
    assert len(line) == len(head)
    assert "Δ" not in page  # there is nothing to compare with
    assert "gains" not in paragraph(page)


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
    page = section(reimplementations_page([record(dice=before), record("mended", after)], SYSTEMS))
    text = paragraph(page)
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
    page = reimplementations_page(found, SYSTEMS)
    for name, system in SYSTEMS.items():
        own = section(page, name)
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
        page = reimplementations_page(records, SYSTEMS)
        assert "0.2222" in page
        assert "0.1111" not in page
        assert old["name"] not in page


def test_runs_of_other_data_are_other_runs_and_are_not_compared():
    other = record("mended", 0.9, data_hashes={"images": "c", "masks": "d"}, source="the whole set")
    page = section(reimplementations_page([record(), other], SYSTEMS))
    assert "Δ" not in page
    used = "trained on 190 slices, honest figures of 80 slices of 3 patients\n"
    assert f"- data at hand: a part of the set; {used}" in page
    assert f"- data at hand: the whole set; {used}" in page
    again = record(dice=0.3333, data_hashes={"images": "c", "masks": "d"})
    page = section(reimplementations_page([record(), other, again], SYSTEMS))
    assert len(lines(page, "`published`")) == 2
    assert lines(page, "`mended`")[0][-1] == "+0.5667"


def test_seeds_stand_in_lines_of_their_own_and_are_compared_by_seed():
    found = [
        record("mended", 0.65, seed=1),
        record(dice=0.6, seed=1),
        record("mended", 0.8),
        record(dice=0.7),
    ]
    page = section(reimplementations_page(found, SYSTEMS))
    assert [line[2] for line in lines(page, "`published`")] == ["0", "1"]
    assert [line[-1] for line in lines(page, "`mended`")] == ["+0.1000", "+0.0500"]
    assert "`mended` (seed 1) gains 0.0500 on `published`." in paragraph(page)
    assert "--preset quick lgg_mri --seed 1`" in page


def test_presets_are_never_mixed():
    page = section(
        reimplementations_page([record(), record("mended", 0.8, preset="published")], SYSTEMS)
    )
    quick, published = page.split("### Preset `published`")
    assert "### Preset `quick`" in quick
    assert lines(quick, "`mended`")[0][2] == "not run"
    assert lines(published, "`mended`")[0][2] == "0"


def test_where_and_how_it_was_run():
    gpu = record("mended", 0.8, hardware=CPU | {"accelerators": ["a GPU"]})
    page = section(reimplementations_page([record(), gpu], SYSTEMS))
    assert "- `published` 180 steps, 2.5 min, on a CPU, 2 cores\n" in page
    assert "- `mended` 180 steps, 2.5 min, on a GPU\n" in page
    assert "- deviations from the published settings: 12 epochs (published: 50)" in page
    assert "- records: `run_published_0.7456`, `run_mended_0.8`" in page


def test_the_same_records_give_the_same_bytes_in_any_order(tmp_path: Path):
    found = [record(), record("mended", 0.8), record(dice=0.6, seed=1)]
    page = reimplementations_page(found, SYSTEMS)
    assert reimplementations_page(found[::-1], SYSTEMS) == page
    for each in found:
        write_record(tmp_path / "runs", str(each["name"]), each)
    (path,) = write_reimplementations(tmp_path / "runs", tmp_path, SYSTEMS)
    first = path.read_bytes()
    assert b"0.8000" in first
    assert write_reimplementations(tmp_path / "runs", tmp_path, SYSTEMS)[0].read_bytes() == first


@pytest.mark.parametrize("field", ["system", "arm", "preset", "defects", "metrics", "counts"])
def test_a_record_that_lacks_what_the_page_needs_is_named(tmp_path: Path, field):
    broken = record()
    del broken[field]
    write_record(tmp_path, "broken", broken)
    with pytest.raises(ValueError, match=rf"broken_\d.*no field '{field}'"):
        read_records(tmp_path)


def test_without_a_folder_of_records_there_is_no_page(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no such folder of records"):
        write_reimplementations(tmp_path / "nowhere", tmp_path, SYSTEMS)
    assert not list(tmp_path.iterdir())


def test_the_committed_page_is_that_of_the_committed_records(tmp_path: Path):
    results = REPOSITORY / "results"
    if not (results / "reimplementations.md").is_file():
        pytest.skip("no page of the re-implementations beside the package yet")
    (path,) = write_reimplementations(results / "runs", tmp_path, SYSTEMS)
    assert path.read_bytes() == (results / path.name).read_bytes()
