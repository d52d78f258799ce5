"""Records become one table: a row per run and fold, nested figures as columns."""

import json

import pytest

from tests.reports.ablation_records import ablation_record
from tests.reports.em_challenge_records import a_record, save, scores
from unet2015.reports import records
from unet2015.reports.em_challenge import write_em_challenge


def test_a_run_of_the_em_challenge_has_a_row_for_each_fold_and_for_all():
    run = a_record(folds=(3, 4), test_volume={"scores": scores(rand=0.07)})
    table = records.tidy([run])
    assert list(table["part"]) == ["held-out slices", "fold", "fold", "test volume"]
    assert list(table["fold"]) == [None, "3", "4", None]
    assert list(table["scores.rand_error.value"]) == [0.05, 0.05, 0.05, 0.07]
    assert list(table["training.steps"]) == [None, 1500, 1500, None]
    assert all(config == run["config"] for config in table["config"])


def test_any_other_run_has_one_row_and_none_for_what_it_lacks():
    table = records.tidy(
        [ablation_record("gelu", 1, 0), ablation_record("gelu", 1, 1, outcome="failed")]
    )
    assert list(table["scores.rand_error.value"]) == [0.2, None]
    assert [type(steps) for steps in table["training.steps"]] == [int, type(None)]
    assert records.values(table, "scores.rand_error.value") == []
    assert records.values(table, "no column") == []
    with pytest.raises(ValueError, match=r"without training\.steps: ablation_gelu_quick"):
        records.require(table, "seed", "training.steps")


def test_without_records_the_table_is_empty():
    assert records.tidy([]).empty
    assert records.groups(records.tidy([]), "preset") == []


MARKUP = "`` ` <b> <!-- /results --> [here](http://x) | a\nb\r\n# c **d** ~~e~~ ~~~ $$f$$"


@pytest.mark.parametrize("field", ["command", "deviations", "cpu"])
def test_no_text_of_a_record_means_anything_in_a_page(tmp_path, field):
    def with_text(text):
        record = a_record()
        changes = {
            "command": text,
            "deviations": [text],
            "cpu": record["hardware"] | {"cpu": text},
        }
        return record | {"hardware" if field == "cpu" else field: changes[field]}

    pages = []
    for text in ("words", MARKUP):
        save(tmp_path / "runs", with_text(text))
        (path,) = write_em_challenge(tmp_path)
        pages.append(path.read_text(encoding="utf-8"))
    plain, marked = pages
    assert "&lt;!-- /results -->" in marked
    for sign in ("\n", "<", "`", "[", " | ", "**", "~", "$", "# ", "://"):
        assert marked.count(sign) == plain.count(sign)


@pytest.mark.parametrize("field", ["preset", "dataset", "name", "commit", "started"])
def test_a_name_with_a_meaning_in_a_path_or_a_page_is_refused(tmp_path, field):
    for text in ("../x", "`x`", "<!-- x", "a|b", "a\nb"):
        (tmp_path / "runs").mkdir(exist_ok=True)
        record = a_record() | {"name": "a"} | {field: text}
        (tmp_path / "runs" / "a.json").write_text(json.dumps(record))
        with pytest.raises(ValueError, match=r"a\.json"):
            write_em_challenge(tmp_path)
    assert not list(tmp_path.glob("*.md"))
