"""Tests of what is committed in results/ and README.md.

Whoever runs a command has more records in results/runs than those committed, so that no test here
depends on others than those it names, or on the pages being made of all there are.
"""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from unet2015.experiments.reimplementations.em_unaligned import SCORED

from tests.commands import ROOT
from unet2015 import experiments, reimplementations
from unet2015.benchmarks.pages import read_benchmarks, write_benchmarks_page
from unet2015.benchmarks.pages import summary as speeds
from unet2015.config import config_hash, from_dict
from unet2015.data.isbi2012 import load_isbi2012
from unet2015.metrics import challenge_scores
from unet2015.reports.ablations import write_ablations
from unet2015.reports.cell_tracking import write_cell_tracking
from unet2015.reports.em_challenge import summary, write_em_challenge
from unet2015.reports.reimplementations import write_reimplementations
from unet2015.runtime.record import read_records

RESULTS = ROOT / "results"
FIRST_QUICK = "em_challenge_quick_isbi2012_seed0_aaee67023055_20261121T131952Z"


def readme_table(name: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.partition(f"<!-- results:{name} -->\n")[2].partition("\n<!-- /results -->")[0]


def write_all(results: Path) -> list[Path]:
    """Every page of results/, as reproduce/tables.py writes them."""
    return [
        *write_em_challenge(results),
        *write_ablations(results),
        *write_cell_tracking(results),
        *write_reimplementations(results, reimplementations.systems()),
        *write_benchmarks_page(results),
    ]


def test_committed_pages_are_what_the_committed_records_give(tmp_path):
    for part in ("runs", "benchmarks"):
        shutil.copytree(RESULTS / part, tmp_path / part)
    for path in write_all(tmp_path):
        if path.suffix == ".md":  # pictures depend on the version of Matplotlib
            committed = RESULTS / path.name
            assert path.read_bytes() == committed.read_bytes(), f"{path.name}: run tables.py"


def test_the_tables_in_readme_are_what_the_records_that_they_name_give():
    """Of all records they are only after `tables.py`, which a run does not do."""
    table = readme_table("em_challenge")
    named = set(re.findall(r"\(results/runs/(\S+)\.json\)", table))
    found = [r for r in read_records(RESULTS / "runs", "em_challenge") if r["name"] in named]
    assert len(found) == len(named)
    assert summary(found) == table
    assert speeds(read_benchmarks(RESULTS)) == readme_table("benchmarks")


def test_every_link_of_a_page_leads_to_a_file():
    for page in (ROOT / "README.md", *RESULTS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_record_has_its_link():
    text = "".join(path.read_text(encoding="utf-8") for path in RESULTS.glob("*.md"))
    shown = set(re.findall(r"\(runs/(\S+?)\.json\)", text))
    for run in re.findall(
        r"\b(?:em_challenge|cell_tracking|ablation|reimplementation)_\S+Z\b", text
    ):
        assert run.rpartition("/")[2] in shown


def test_fields_that_were_added_later_leave_the_hashes_of_the_first_records_as_they_are():
    record = json.loads((RESULTS / "runs" / f"{FIRST_QUICK}.json").read_text(encoding="utf-8"))
    assert config_hash(from_dict(record["config"])) == "aaee67023055"
    assert config_hash(experiments.load("ablation_quick")) == "578bc272afac"
    assert config_hash(experiments.load("cell_tracking_quick")) == "43d51bf24934"


def test_the_pixel_error_that_em_runs_share_is_that_of_cell_everywhere():
    """What the page concludes from the committed records, computed from the labels."""
    data = Path(os.environ.get("UNET2015_DATA", "nowhere")) / "isbi2012"
    if not data.is_dir():
        pytest.skip("UNET2015_DATA is not set, or has no isbi2012")
    labels = load_isbi2012(data).train_labels[-SCORED:] > 0
    scores = challenge_scores(labels, np.ones(labels.shape, np.float32))
    share = labels.mean()
    assert scores.pixel_error.value == pytest.approx(1 - 2 * share / (1 + share))
    records = read_records(RESULTS / "runs", "reimplementation")
    found = [record for record in records if record["system"] == "em_unaligned"]
    honest = [r["metrics"]["honest"] for r in found]
    errors = [each["pixel error"] for each in honest]
    assert all(error <= scores.pixel_error.value for error in errors)
    assert all(each["V^Rand"] > scores.v_rand_thinned.value for each in honest)
    if errors.count(max(errors, default=0)) > 1:
        assert max(errors) == scores.pixel_error.value
