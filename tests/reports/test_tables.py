import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reports.em_challenge_records import a_record, save, scores
from unet2015.reports.tables import (
    README_END,
    README_START,
    claimed_row,
    em_challenge_summary,
    em_challenge_table,
    write_tables,
)
from unet2015.reports.words import spans
from unet2015.runtime.record import REPOSITORY, read_records

COMMITTED = REPOSITORY / "results"


def the_page(*records, dataset="isbi2012"):
    return em_challenge_table(records, dataset=dataset)


def rows(page, start):
    """The cells of the rows of the page's first table that start so."""
    table = page[page.index("\n| ") :].split("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.split("\n")]
    return [row for row in cells if row[0].startswith(start)]


def test_the_page_begins_with_the_command_that_made_it():
    assert "python reproduce/tables.py" in the_page().splitlines()[0]
    assert the_page().startswith("<!--")


@pytest.mark.parametrize(
    "row",
    [
        ("human values", "0.000005", "0.0021", "0.0010"),
        ("1. u-net", "0.000353", "0.0382", "0.0611"),
        ("2. DIVE-SCI", "0.000355", "0.0305", "0.0584"),
        ("3. IDSIA", "0.000420", "0.0504", "0.0613"),
        ("4. DIVE", "0.000430", "0.0545", "0.0582"),
        ("10. IDSIA-SCI", "0.000653", "0.0189", "0.1027"),
    ],
)
def test_the_papers_table_1(row):
    name, *figures = row
    (found,) = [r for r in rows(the_page(), "paper: ") if r[0] == f"paper: {name}"]
    assert found[2:8:2] == figures


def test_without_records_nothing_was_run():
    page = the_page()
    for preset in ("quick", "paper"):
        (row,) = rows(page, f"ours, `{preset}`")
        assert row[2:8:2] == ["not run"] * 3
        assert f"- ours, `{preset}`: not run" in page
    assert em_challenge_summary([]).count("not run") == 8


def test_one_run_with_its_difference_to_the_paper():
    page = the_page(a_record(pooled=scores(warping=0.0004531, rand=0.0282, pixel=0.06)))
    (row,) = rows(page, "ours, `quick`")
    assert row[1] == "held-out slices 24–29 (fold 4)"
    assert row[2:8] == ["0.000453", "+0.000100", "0.0282", "-0.0100", "0.0600", "-0.0011"]
    assert row[8].startswith("em_challenge_quick_0_4_01")
    for part in (
        "| 0.000500 | 0.9500 | 0.9400 | 0.9600 | 0.9700 | 0.9750 | 0.9650 |",  # further figures
        "| 0.3 | 0.6 | 0.4 | 0.2 | 0.7 | 0.1 |",  # thresholds
        "- command: `python reproduce/em_challenge.py --preset quick`",
        "training.steps: 1500 (was 80000)",
        "A CPU, 2 cores, 8.0 GiB, 2 threads; accelerator: none",
        "wall time 8.5 min, peak memory 1.5 GiB",
        "1500 steps in 8.0 min, final loss 0.2500, dead start 40 steps; prediction 30 s",
        "commit 0123456789ab\n",
    ):
        assert part in page


def test_a_run_says_if_its_code_was_not_committed():
    assert "commit 0123456789ab, with uncommitted changes" in the_page(a_record(dirty=True))
    assert "not under version control" in the_page(a_record(commit=None, dirty=None))


def test_seeds_share_a_row_with_mean_and_half_range():
    page = the_page(
        a_record(seed=0, pooled=scores(pixel=0.06, warping=0.0004)),
        a_record(seed=1, pooled=scores(pixel=0.07, warping=0.0008)),
        a_record(seed=2, pooled=scores(pixel=0.0611, warping=0.0006)),
    )
    (row,) = rows(page, "ours, `quick`")
    assert row[0].endswith("3 seeds")
    assert row[2:4] == ["0.000600 ± 0.000200", "+0.000247"]
    assert row[6:8] == ["0.0637 ± 0.0050", "+0.0026"]  # mean 0.0637, not the mid-range 0.0650
    assert row[8].count("em_challenge_quick") == 3


def test_of_equal_runs_the_newest_counts():
    old, new = a_record(day=1, pooled=scores(pixel=0.5)), a_record(day=2)
    for records in ((old, new), (new, old)):
        page = the_page(*records)
        (row,) = rows(page, "ours, `quick`")
        assert row[6] == "0.0600"
        assert old["name"] not in page


@pytest.mark.parametrize(
    "other",
    [
        {"preset": "paper"},
        {"config_hash": "another"},
        {"folds": (0,)},
        {"scores_protocol": "2016"},
    ],
)
def test_what_may_not_be_averaged_has_rows_of_its_own(other):
    first, second = a_record(seed=0), a_record(seed=1, day=2, pooled=scores(pixel=0.2), **other)
    page = the_page(first, second)
    figures = [row[6] for row in rows(page, "ours, ") if "held-out" in row[1]]
    assert sorted(f for f in figures if f != "not run") == ["0.0600", "0.2000"]
    assert "±" not in page.split("## ")[0]


def test_folds_are_listed_one_by_one_where_there_are_several():
    page = the_page(a_record("paper", folds=(0, 1, 2, 3, 4)))
    (row,) = rows(page, "ours, `paper`")
    assert row[1] == "held-out slices 0–29 (5 folds)"
    assert "| 0 | 3 | 18–23 | 0.000400 | 0.0500 | 0.0600 |" in page
    assert "(hash_paper): none" in page
    assert "## Fold by fold" not in the_page(a_record())


def test_a_warping_error_without_a_guarded_one():
    page = the_page(a_record(pooled=scores(guarded=None)))
    assert "no threshold qualifies" in page
    assert "| 0.4 | – | 0.7 |" in page


def test_the_three_states_of_the_test_volume():
    assert rows(the_page(a_record()), "ours")[-1][1:3] == ["test volume", "not asked for"]
    no_labels = {"scores": None, "reason": "test labels not available"}
    row = rows(the_page(a_record(test_volume=no_labels)), "ours")[-1]
    assert row[1:8:2] == ["test volume", "", "", ""]
    assert row[2] == "test labels not available"
    scored = a_record(folds=(), pooled=None, test_volume={"scores": scores(rand=0.0383)})
    page = the_page(scored)
    assert rows(page, "ours")[-1][4:6] == ["0.0383", "+0.0001"]
    assert rows(page, "ours, `quick`")[0][2] == "not run"  # on held-out slices


def test_phantom_results_never_stand_beside_the_papers():
    real, phantom = a_record(), a_record(dataset="phantom", day=3, pooled=scores(pixel=0.0123))
    assert "0.0123" not in the_page(real, phantom)
    assert "0.0123" not in em_challenge_summary([real, phantom])
    page = the_page(real, phantom, dataset="phantom")
    assert "0.0123" in page
    assert "# PHANTOM" in page
    assert "0.0611" not in page
    assert "u-net" not in page
    assert "Δ" not in page


def test_the_order_of_records_does_not_matter():
    records = [
        a_record(p, seed=s, folds=f, day=d)
        for p, s, f, d in (
            ("quick", 0, (4,), 1),
            ("quick", 1, (4,), 1),
            ("quick", 0, (0, 1), 2),
            ("paper", 0, (4,), 3),
            ("paper", 0, (4,), 4),
        )
    ]
    page = the_page(*records)
    for seed in range(5):
        random.Random(seed).shuffle(records)
        assert the_page(*records) == page


def test_the_table_is_well_formed():
    """Every row of every table has as many cells as its head."""
    page = the_page(a_record(), a_record("paper", folds=(0, 1)))
    widths, tables = [], 0
    for line in page.splitlines():
        if not line.startswith("|"):
            widths = []
            continue
        tables += not widths
        widths.append(line.count("|"))
        assert len(set(widths)) == 1, line
    assert tables == 4


def test_a_record_that_is_not_whole_is_named():
    record = a_record()
    del record["pooled"]["rand_error"]
    with pytest.raises(ValueError, match=r"rand_error.*em_challenge_quick_0_4_01"):
        the_page(record)


def test_a_short_paper_is_not_shown_in_the_place_of_a_long_one_but_a_newer_quick_is():
    def run(preset: str, steps: int, day: int, folds: tuple[int, ...]):
        made = a_record(preset, folds=folds, day=day, config_hash=f"hash{steps}")
        made["config"]["training"]["steps"] = steps
        return made

    records = [run("paper", 20000, 1, (0, 1, 2, 3, 4)), run("paper", 1001, 2, (0, 1, 2, 3, 4))]
    records += [run("quick", 1500, 1, (4,)), run("quick", 800, 2, (4,))]
    shown = [claimed_row(records, preset) for preset in ("paper", "quick")]
    assert [row and row.config_hash for row in shown] == ["hash20000", "hash800"]
    assert "| ours, `paper`, 20000 steps in float32 |" in em_challenge_summary(records)


def test_pages_and_readme_are_written_from_the_records(tmp_path):
    results, readme = tmp_path / "results", tmp_path / "README.md"
    save(results / "runs", a_record(), a_record("paper", day=2, folds=(0, 1, 2, 3, 4)))
    readme.write_text(f"# U-Net\n{README_START}\nbygone\n{README_END}\nafter\n", encoding="utf-8")
    written = write_tables(results / "runs", results)
    assert [p.name for p in written] == ["em_challenge.md", "README.md"]
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"# U-Net\n{README_START}\n|")
    assert text.endswith(f"\n{README_END}\nafter\n")
    assert "bygone" not in text
    assert "| ours, `quick` | held-out slices 24–29 (fold 4) | 0.000400 | 0.0500 | 0.0600 |" in text
    assert "u-net, paper (Table 1) | hidden test volume | 0.000353 | 0.0382 | 0.0611 |" in text
    before = [p.read_bytes() for p in written]
    write_tables(results / "runs", results)
    assert [p.read_bytes() for p in written] == before
    assert not (results / "em_challenge_phantom.md").exists()


def test_a_phantom_record_gets_a_page_of_its_own(tmp_path):
    save(tmp_path / "results" / "runs", a_record(dataset="phantom"))
    written = write_tables(tmp_path / "results" / "runs", tmp_path / "results")
    assert [p.name for p in written] == ["em_challenge.md", "em_challenge_phantom.md"]
    assert "not run" in written[0].read_text(encoding="utf-8")


def test_bad_input_leaves_the_pages_as_they_are(tmp_path):
    results, readme = tmp_path / "results", tmp_path / "README.md"
    save(results / "runs", a_record())
    page = results / "em_challenge.md"
    page.write_text("before")
    readme.write_text(f"{README_START} and no end")
    with pytest.raises(ValueError, match=r"README\.md"):
        write_tables(results / "runs", results)
    readme.unlink()
    (results / "runs" / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json"):
        write_tables(results / "runs", results)
    assert page.read_text() == "before"


def test_the_script_ends_bad_input_with_one_message_and_exit_code_2(tmp_path):
    script = [sys.executable, str(REPOSITORY / "reproduce" / "tables.py")]
    missing = [*script, "--results", str(tmp_path / "nowhere")]
    ended = subprocess.run(missing, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert "nowhere" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_slices_as_spans():
    assert spans(range(30)) == "0–29"
    assert spans([7, 5, 1, 0]) == "0–1, 5, 7"
    assert spans([]) == ""


def test_committed_pages_are_what_the_committed_records_give(tmp_path):
    runs = COMMITTED / "runs"
    if not runs.is_dir() or not read_records(runs):
        pytest.skip("no record in results/runs yet")
    results = tmp_path / "results"
    shutil.copytree(runs, results / "runs")
    readme = REPOSITORY / "README.md"
    if readme.is_file():
        shutil.copy(readme, tmp_path / "README.md")
    for path in write_tables(results / "runs", results):
        committed = REPOSITORY / path.relative_to(Path(tmp_path))
        assert path.read_bytes() == committed.read_bytes(), f"{committed.name}: run tables.py"
