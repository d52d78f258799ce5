"""The page of the EM challenge, and the table in README.md: every figure from a record."""

import random

import pytest

from tests.reports.em_challenge_records import a_record, save, scores
from tests.reports.markdown import lines
from unet2015.reports.em_challenge import (
    U_NET,
    claimed_row,
    page,
    row_of,
    summary,
    write_em_challenge,
)


def the_page(*records, dataset="isbi2012"):
    return page(records, dataset)


def rows(text, start):
    """The cells of the rows of the page's first table that start so."""
    return [row for row in lines(text.split("\n\n<details>")[0], start) if row[0].startswith(start)]


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
    assert name != "1. u-net" or list(U_NET.values()) == [float(figure) for figure in figures]


def test_without_records_nothing_was_run():
    text = the_page()
    assert "python reproduce/tables.py" in text.splitlines()[0]
    for preset in ("quick", "hour", "paper"):
        (row,) = rows(text, f"ours, `{preset}`")
        assert row[2:8:2] == ["not run"] * 3
        assert f"- ours, `{preset}`: not run" in text
    assert "No record." in text
    assert summary([]).count("not run") == 12


def test_one_run_with_its_difference_to_the_paper():
    record = a_record(pooled=scores(warping=0.0004531, rand=0.0282, pixel=0.06))
    text = the_page(record)
    (row,) = rows(text, "ours, `quick`")
    assert row[1] == "held-out slices 24–29 (fold 4)"
    assert row[2:8] == ["0.000453", "+0.000100", "0.0282", "-0.0100", "0.0600", "-0.0011"]
    assert row[8] == "[em_challenge_quick_0_4_01](runs/em_challenge_quick_0_4_01.json)"
    for part in (
        "| 0.000500 | 0.9500 | 0.9400 | 0.9600 | 0.9700 | 0.9750 | 0.9650 |",  # further figures
        "| 0.3 | 0.6 | 0.4 | 0.2 | 0.7 | 0.1 |",  # thresholds
        "training.steps: 1500 (was 80000)",
        "| `python reproduce/em_challenge.py --preset quick` |",
        "configuration hash_quick, commit 0123456789ab |",
        "A CPU, 2 cores, 8.0 GiB, 2 threads; accelerator: none",
        "wall time 8.5 min, peak memory 1.5 GiB",
        "| 4 | 24–29 | 0.000453 | 0.0282 | 0.0600 | 1500 | 8.0 | 0.2500 | 40 | 30 |",  # the fold
    ):
        assert part in text
    plan = {"minutes": 9.0, "share": 0.251, "trainings": 2, "seconds_beside": 200.0}
    assert "; planned for 9 minutes: 25.1% of the steps" in the_page(a_record(plan=plan))


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (
            (0.0004, 0.05, 0.06),
            "lies below the paper's u-net in\npixel error and above it in warping",
        ),
        ((0.0002, 0.03, 0.06), "`quick` is in no error above the paper's u-net."),
        ((0.0004, 0.05, 0.07), "`quick` is in no error below the paper's u-net."),
    ],
)
def test_on_which_side_of_the_papers_errors_a_preset_is(errors, words):
    record = a_record(pooled=scores(**dict(zip(("warping", "rand", "pixel"), errors, strict=True))))
    assert words in the_page(record)
    row = claimed_row([record], "quick")
    assert row is not None
    assert len(row["below"]) + len(row["above"]) == 3


def test_runs_of_the_fold_for_choices_are_told_as_trials_and_make_no_row():
    def trial(width, rate, day, pixel, seed=0):
        changes = {"model": {"width": width}, "training": {"learning_rate": rate}}
        config = {c: values | changes.get(c, {}) for c, values in a_record()["config"].items()}
        record = a_record("quick, changed", seed, (0,), day, pooled=scores(pixel=pixel))
        return record | {"config": config, "config_hash": f"{width}/{rate}"}

    text = the_page(
        trial(16, 1e-3, 1, 0.07),
        trial(16, 1e-3, 2, 0.08, seed=1),
        trial(8, 1e-3, 3, 0.09),
        trial(8, 2e-3, 4, 0.1) | {"preset": "paper, changed"},
        a_record(day=5) | {"config_hash": "8/0.001"},
    )
    (row,) = rows(text, "ours, `quick`")
    assert row[1] == "held-out slices 24–29 (fold 4)"
    assert "held-out slices 0–5" not in text
    tried = text.partition("What was tried")[2].partition("</details>")[0]
    quick, paper = tried.split("With `paper`,")
    assert "With `quick`, all of them with no deviation from the paper:" in quick
    assert "| model.width | minutes |" in quick  # the rate is the same in both
    assert "| 16 | 8.0 ± 0.0 | 0.0500 ± 0.0000 | 0.0750 ± 0.0050 |" in quick
    assert "| 8 | 8.0 | 0.0500 | 0.0900 | 0.000500 | 0.9500 | 0.9700 | yes | [" in quick
    assert "| minutes | Rand error |" in paper  # a single trial varies in nothing
    assert "| 8.0 | 0.0500 | 0.1000 |" in paper
    assert "What was tried" not in the_page(a_record())


def test_seeds_share_a_row_with_mean_and_half_range():
    records = [
        a_record(seed=0, pooled=scores(pixel=0.06, warping=0.0004)),
        a_record(seed=1, pooled=scores(pixel=0.07, warping=0.0008)),
        a_record(seed=2, pooled=scores(pixel=0.0611, warping=0.0006)),
    ]
    (row,) = rows(the_page(*records), "ours, `quick`")
    assert row[0].endswith("3 seeds")
    assert row[2:4] == ["0.000600 ± 0.000200", "+0.000247"]
    assert row[6:8] == ["0.0637 ± 0.0050", "+0.0026"]  # mean 0.0637, not the mid-range 0.0650
    assert row[8].count("[em_challenge_quick") == 3
    assert summary(records).count("[record](results/runs/em_challenge_quick_") == 3


def test_of_equal_runs_the_newest_counts():
    old, new = a_record(day=1, pooled=scores(pixel=0.5)), a_record(day=2)
    for records in ((old, new), (new, old)):
        text = the_page(*records)
        (row,) = rows(text, "ours, `quick`")
        assert row[6] == "0.0600"
        assert old["name"] not in text


def test_repeated_runs_are_held_against_the_seeds():
    def run(seed, day, pixel, warping, **other):
        found = a_record(seed=seed, day=day, pooled=scores(pixel=pixel, warping=warping))
        return found | {"hardware": found["hardware"] | other}

    once = [run(0, 1, 0.05, 0.001), run(1, 2, 0.06, 0.001)]
    assert "more than once" not in the_page(*once)
    text = the_page(*once, run(0, 3, 0.055, 0.004))
    name, machine = "| ours, `quick` (hash_quick) ", "A CPU, 2 cores, 2 thread(s)"
    assert f"{name}| pixel error | 2 | 0.005000 | 0.005000 | no | {machine} |" in text
    assert f"{name}| warping error | 2 | 0.003000 | 0.003000 | no | {machine} |" in text
    another = {"instructions": ["avx2", "amx_bf16"], "torch_threads": 1}
    again = the_page(*once, run(0, 3, 0.058, 0.004, **another))
    machines = f"A CPU with amx_bf16, 2 cores, 1 thread(s); {machine}"
    assert f"{name}| pixel error | 2 | 0.008000 | 0.002000 | yes | {machines} |" in again
    alone = the_page(once[0], run(0, 3, 0.058, 0.004))
    assert f"{name}| pixel error | 2 | 0.008000 | – |  | {machine} |" in alone


@pytest.mark.parametrize(
    "other",
    [
        {"preset": "paper"},
        {"config_hash": "another"},
        {"folds": (1,)},
        {"scores_protocol": "2016"},
    ],
)
def test_what_may_not_be_averaged_has_rows_of_its_own(other):
    first, second = a_record(seed=0), a_record(seed=1, day=2, pooled=scores(pixel=0.2), **other)
    text = the_page(first, second)
    figures = [row[6] for row in rows(text, "ours, ") if "held-out" in row[1]]
    assert sorted(f for f in figures if f != "not run") == ["0.0600", "0.2000"]
    assert "±" not in text.split("<details>")[0]


def test_folds_are_listed_one_by_one():
    text = the_page(a_record("paper", folds=(0, 1, 2, 3, 4)))
    (row,) = rows(text, "ours, `paper`")
    assert row[1] == "held-out slices 0–29 (5 folds)"
    assert "| 0 | 3 | 18–23 | 0.000400 | 0.0500 | 0.0600 |" in text
    assert "(hash_paper): none" in text


def test_a_warping_error_without_a_guarded_one():
    text = the_page(a_record(pooled=scores(guarded=None)))
    assert "no threshold qualifies" in text
    assert "| 0.4 | – | 0.7 |" in text


def test_the_three_states_of_the_test_volume():
    assert rows(the_page(a_record()), "ours")[-1][1:3] == ["test volume", "not asked for"]
    no_labels = {"scores": None, "reason": "test labels not available"}
    row = rows(the_page(a_record(test_volume=no_labels)), "ours")[-1]
    assert row[1:8:2] == ["test volume", "", "", ""]
    assert row[2] == "test labels not available"
    scored = a_record(folds=(), pooled=None, test_volume={"scores": scores(rand=0.0383)})
    both = the_page(scored, a_record(seed=1, folds=(), pooled=None, test_volume=no_labels))
    assert rows(both, "ours")[-1][4] == "0.0383"  # of the seed that has scores
    text = the_page(scored)
    assert rows(text, "ours")[-1][4:6] == ["0.0383", "+0.0001"]
    assert rows(text, "ours, `quick`")[0][2] == "not run"  # on held-out slices


def test_phantom_results_never_stand_beside_the_papers(tmp_path):
    real, phantom = a_record(), a_record(dataset="phantom", day=3, pooled=scores(pixel=0.0123))
    assert "0.0123" not in the_page(real, phantom)
    assert "0.0123" not in summary([real, phantom])
    text = the_page(real, phantom, dataset="phantom")
    assert "# PHANTOM" in text
    for shown, given in ((text, phantom), (row_of([real, phantom], phantom["name"]), phantom)):
        assert given["config_hash"] in shown
        assert "0.0123" in shown
        assert not any(words in shown for words in ("0.0611", "u-net", "Δ"))
    save(tmp_path / "runs", phantom)
    written = write_em_challenge(tmp_path)
    assert [p.name for p in written] == ["em_challenge.md", "em_challenge_phantom.md"]
    assert "not run" in written[0].read_text(encoding="utf-8")


def test_a_command_shows_the_rows_of_its_run_below_the_papers():
    runs = [a_record(), a_record("paper", test_volume={"scores": scores(rand=0.07)})]
    paper, held_out, test_volume = lines(row_of(runs, runs[1]["name"]), "0.")
    assert paper[2:] == ["0.000353", "0.0382", "0.0611"]
    assert held_out[2:] == ["0.000400", "0.0500", "0.0600"]
    assert test_volume[1:4] == ["test volume", "0.000400", "0.0700"]


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
    text = the_page(*records)
    for seed in range(5):
        random.Random(seed).shuffle(records)
        assert the_page(*records) == text


def test_a_record_that_is_not_whole_is_named():
    record = a_record()
    del record["pooled"]["rand_error"]
    with pytest.raises(ValueError, match=r"not whole.*rand_error.*em_challenge_quick_0_4_01"):
        the_page(record)


def test_a_short_paper_is_not_shown_in_the_place_of_a_long_one_but_a_newer_quick_is():
    def run(preset: str, steps: int, day: int, folds: tuple[int, ...]):
        made = a_record(preset, folds=folds, day=day, config_hash=f"hash{steps}")
        made["config"]["training"]["steps"] = steps
        return made

    records = [run("paper", 20000, 1, (0, 1, 2, 3, 4)), run("paper", 1001, 2, (0, 1, 2, 3, 4))]
    records += [run("quick", 1500, 1, (4,)), run("quick", 800, 2, (4,)), run("quick", 7, 3, (0,))]
    shown = [claimed_row(records, preset) for preset in ("paper", "quick")]
    assert [row and row["config_hash"] for row in shown] == ["hash20000", "hash800"]
    assert "| ours, `paper`, 20000 steps in float32 |" in summary(records)


def test_bad_records_leave_the_page_as_it_is(tmp_path):
    save(tmp_path / "runs", a_record())
    (path,) = write_em_challenge(tmp_path)
    before = path.read_bytes()
    assert b"0.0600" in before
    assert write_em_challenge(tmp_path)[0].read_bytes() == before
    (tmp_path / "runs" / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json"):
        write_em_challenge(tmp_path)
    assert path.read_bytes() == before
