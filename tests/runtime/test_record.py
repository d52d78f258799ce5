import json
import math
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from unet2015.config import ExperimentConfig, config_hash, from_dict
from unet2015.runtime import record
from unet2015.runtime.record import (
    REPOSITORY,
    SHA256,
    checksum,
    code_version,
    command_line,
    peak_memory_gib,
    provenance,
    read_records,
    write_record,
)
from unet2015.runtime.record_schema import EXPERIMENTS

NOW = datetime(2026, 11, 21, 5, 12, tzinfo=UTC)


def some_provenance(**changes):
    given = {
        "config": ExperimentConfig(),
        "seed": 3,
        "data_hashes": {"train-volume": "200da3"},
        "command": command_line(["reproduce/em_challenge.py", "--data", "/home/alice/isbi2012"]),
        "started": NOW,
        "wall_time_s": 12.345,
        "deviations": ["training.steps: 5 (was 80000)"],
    }
    return provenance(**(given | changes))


def write_raw(folder, name, content):
    (folder / f"{name}.json").write_text(
        content if isinstance(content, str) else json.dumps(content)
    )


CPU_INFO = """processor\t: 0
model name\t: A Processor
flags\t\t: fpu avx2 avx512f avx512_bf16x amx_bf16
"""


def test_what_a_processor_can_is_read_where_the_system_says_it(tmp_path, monkeypatch):
    listed = tmp_path / "cpuinfo"
    listed.write_text(CPU_INFO)
    monkeypatch.setattr(record, "CPU_INFO", listed)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    found = record.hardware()
    assert found["cpu"] == "A Processor"
    assert found["instructions"] == ["avx2", "avx512f", "amx_bf16"]
    assert found["onednn_max_cpu_isa"] == "AVX2"
    listed.unlink()
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    found = record.hardware()
    assert found["cpu"]
    assert (found["instructions"], found["onednn_max_cpu_isa"]) == ([], None)


def test_provenance_names_code_machine_settings_and_command():
    made = some_provenance(started=NOW.astimezone(timezone(timedelta(hours=2))))
    assert made["started"] == "2026-11-21T05:12:00Z"
    assert made["wall_time_s"] == 12.3
    assert made["config_hash"] == config_hash(from_dict(made["config"]))
    assert made["versions"]["numpy"] == np.__version__
    assert made["hardware"]["cores"] >= 1
    assert made["hardware"]["torch_threads"] >= 1
    assert set(code_version()) <= set(made)
    made = some_provenance(code={"commit": "abc", "dirty": False})  # that of the run's start
    assert (made["commit"], made["dirty"]) == ("abc", False)
    with pytest.raises(ValueError, match="time zone"):
        some_provenance(started=NOW.replace(tzinfo=None))


def test_provenance_names_no_path_host_or_user(tmp_path):
    text = json.dumps(some_provenance(), ensure_ascii=False)
    assert "alice" not in text
    assert str(REPOSITORY) not in text
    assert not re.search(r"\"/|\s/", text)  # a string or word that starts like an absolute path
    host = platform.node()
    assert len(host) < 4 or host not in text


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["reproduce/em_challenge.py"], "python reproduce/em_challenge.py"),
        (
            [str(REPOSITORY / "reproduce/em_challenge.py"), "--preset", "quick"],
            "python reproduce/em_challenge.py --preset quick",
        ),
        (
            [str(REPOSITORY / "unet2015/__main__.py"), "train", "--images", "/data/alice/x.tif"],
            "python -m unet2015 train --images …/x.tif",
        ),
        (["s.py", "--output=/home/alice/run", "../alice/x"], "python s.py --output=…/run …/x"),
        (["s.py", "C:\\Users\\alice\\x.tif"], "python s.py …/x.tif"),
        (["/opt/alice/s.py", "runs/a", "1e-3"], "python …/s.py runs/a 1e-3"),
        (["s.py", "two words", "/a/two words"], "python s.py 'two words' '…/two words'"),
        (["s.py", "--o=~", "/", ".."], "python s.py --o=… … …"),
    ],
)
def test_command_line_holds_no_path_of_the_machine(argv, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert command_line(argv) == expected
    home = tmp_path / "alice"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert command_line(["s.py", str(home), f"--data={home}"]) == "python s.py … --data=…"


def git(folder, *arguments):
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    ended = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_code_version_is_the_commit_and_whether_code_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "of_a_hook"))
    assert code_version(tmp_path) == {"commit": None, "code_tree": None, "dirty": None}
    monkeypatch.delenv("GIT_DIR")
    git(tmp_path, "init", "-q")
    code, other = tmp_path / "unet2015" / "code.py", tmp_path / "experiments" / "code.py"
    page = tmp_path / "unet2015" / "reports" / "page.py"
    for file in (code, other, page):
        file.parent.mkdir()
        file.write_text("1")
    assert code_version(tmp_path) == {"commit": None, "code_tree": None, "dirty": True}
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    clean = code_version(tmp_path)
    assert (clean["commit"], clean["dirty"]) == (git(tmp_path, "rev-parse", "HEAD"), False)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "record.json").write_text("{}")
    (tmp_path / "README.md").write_text("a table")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "of_a_hook"))
    assert code_version(tmp_path) == clean
    code.write_text("2")
    assert code_version(tmp_path) == clean | {"dirty": True}
    monkeypatch.delenv("GIT_DIR")
    code.write_text("1")
    page.write_text("another table")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "a record and a page")
    later = code_version(tmp_path)
    assert later["commit"] != clean["commit"]
    assert later["code_tree"] == clean["code_tree"]
    for file in (code, other):
        file.write_text("3")
        git(tmp_path, "commit", "-q", "-a", "-m", "what computes")
        assert code_version(tmp_path)["code_tree"] not in (later["code_tree"], None)
        later = code_version(tmp_path)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_copy_without_its_repository_is_told_its_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("UNET2015_COMMIT", "c" * 40)
    assert code_version(tmp_path) == {"commit": "c" * 40, "code_tree": None, "dirty": None}
    monkeypatch.setenv("UNET2015_COMMIT", "main")
    with pytest.raises(ValueError, match="UNET2015_COMMIT = 'main': must be the hexadecimal"):
        code_version(tmp_path)
    git(tmp_path, "init", "-q")  # which the variable does not overrule
    assert code_version(tmp_path)["commit"] is None


def test_an_installed_copy_does_not_claim_the_commit_around_it(tmp_path):
    git(tmp_path, "init", "-q")
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert code_version(inside) == {"commit": None, "code_tree": None, "dirty": None}


def test_peak_memory_grows_with_an_allocation():
    pytest.importorskip("resource")
    before = peak_memory_gib()
    kept = np.ones(2**27, np.uint8)
    after = peak_memory_gib()
    assert before is not None
    assert after is not None
    assert 0 < before <= after < 1000
    assert after >= kept.nbytes / 2**30  # the array alone


def test_a_record_comes_back_as_it_was_written(tmp_path):
    record = {"experiment": "x", "a": np.float32(0.5), "n": np.int64(3), "list": np.arange(2)}
    path = write_record(
        tmp_path / "runs", "x_seed0", record | {"none": None, "d": {4: "é"}}, now=NOW
    )
    assert path.name == "x_seed0_20261121T051200Z.json"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    text = path.read_bytes().decode()
    assert text.endswith("}\n")
    assert text.index('"a"') < text.index('"experiment"') < text.index('"name"')
    (read,) = read_records(path.parent)
    expected = {"schema": 1, "name": path.stem, "experiment": "x", "a": 0.5, "n": 3}
    expected |= {"list": [0, 1], "none": None, "d": {"4": "é"}}
    assert read == expected | {"sha256": checksum(expected)}


def test_records_are_append_only(tmp_path):
    first = write_record(tmp_path, "x", {"experiment": "x", "k": 1}, now=NOW)
    content = first.read_bytes()
    paths = [write_record(tmp_path, "x", {"experiment": "x", "k": k}, now=NOW) for k in (2, 3)]
    assert [p.stem for p in paths] == [f"{first.stem}_2", f"{first.stem}_3"]
    assert first.read_bytes() == content
    assert [r["k"] for r in read_records(tmp_path)] == [1, 2, 3]


def test_records_of_equal_names_that_are_written_at_once_are_all_kept(tmp_path):
    def write(k: int) -> Path:
        return write_record(tmp_path, "x", {"experiment": "x", "k": k}, now=NOW)

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(write, range(80)))
    assert len({*paths}) == 80
    assert sorted(r["k"] for r in read_records(tmp_path)) == list(range(80))


def test_what_json_or_a_file_name_cannot_hold_is_refused(tmp_path):
    for value in (math.nan, math.inf, np.float32("nan"), np.array([1.0, -np.inf])):
        with pytest.raises(ValueError, match=r"record\.folds\.4.*must be finite"):
            write_record(tmp_path, "x", {"experiment": "x", "folds": {4: [value]}})
    for name in ("", "a/b", "../x", ".hidden", "a b"):
        with pytest.raises(ValueError, match="name = "):
            write_record(tmp_path, name, {"experiment": "x"})
    with pytest.raises(ValueError, match="experiment"):
        write_record(tmp_path, "x", {})
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        write_record(tmp_path, "x", {"experiment": "x", "path": Path("a")})
    assert list(tmp_path.iterdir()) == []


def test_records_of_one_experiment_sorted_by_name(tmp_path):
    for name, experiment in (("b", "x"), ("a", "x"), ("c", "y")):
        write_record(tmp_path, name, {"experiment": experiment}, now=NOW)
    (tmp_path / ".b.json").write_text("half-writ")  # a temporary file of another process
    (tmp_path / "notes.txt").write_text("")
    assert [r["name"][0] for r in read_records(tmp_path, "x")] == ["a", "b"]
    assert [r["name"][0] for r in read_records(tmp_path)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema": 1, "experiment"', "damaged"),
        ('{"schema": 1, "name": "bad", "experiment": "x", "a": NaN}', "NaN"),
        ([1, 2], "schema"),
        ({"name": "bad", "experiment": "x"}, "schema"),
        ({"schema": 2, "name": "bad", "experiment": "x"}, "schema"),
        ({"schema": 1, "name": "other", "experiment": "x"}, "other"),
        ({"schema": 1, "name": "bad"}, "required field `experiment`"),
        ({"schema": 1, "name": "bad", "experiment": "em_challenge"}, "required field `command`"),
        ('{"schema": 1, "name": "bad", "experiment": "x", "a": 1e400}', "1e400 is not a finite"),
        ("[" * 100_000, "damaged"),
        ('{"a":' * 100_000, "damaged"),
        ({"schema": 1, "name": "bad", "experiment": "x", "sha256": "00"}, "was changed since"),
    ],
)
def test_a_damaged_or_foreign_file_is_named(tmp_path, content, message):
    write_raw(tmp_path, "bad", content)
    with pytest.raises(ValueError, match=rf"bad\.json.*{message}"):
        read_records(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_records(tmp_path / "nowhere")


OF_EACH = {
    experiment: sorted((REPOSITORY / "results" / "runs").glob(f"{experiment}_*.json"))[-1]
    for experiment in EXPERIMENTS
}
"""A committed record of each experiment."""


@pytest.mark.parametrize("experiment", OF_EACH)
def test_no_changed_byte_is_read_as_another_record(tmp_path, experiment):
    committed = OF_EACH[experiment]
    (whole,) = [r for r in read_records(committed.parent) if r["name"] == committed.stem]
    del whole["name"]
    path = write_record(tmp_path, experiment, whole, now=NOW)
    right, rng = path.read_bytes(), np.random.default_rng(0)
    (before,) = read_records(tmp_path)
    refused = 0
    for _ in range(150):
        place, value = rng.integers(len(right)), rng.integers(256)
        path.write_bytes(right[:place] + bytes([value]) + right[place + 1 :])
        try:
            (after,) = read_records(tmp_path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error)  # noqa: PT017
        else:
            # the name of the checksum's field, and what JSON does not care for
            after.setdefault(SHA256, before[SHA256])
            assert {key: after[key] for key in before} == before
    assert refused > 100


@pytest.mark.parametrize("experiment", OF_EACH)
def test_a_field_of_another_type_is_named(tmp_path, experiment):
    whole = json.loads(OF_EACH[experiment].read_text(encoding="utf-8"))
    whole.pop(SHA256, None)  # as if it had been written so
    required = EXPERIMENTS[experiment].__required_keys__
    for name in required - {"schema", "name", "experiment"}:
        write_raw(tmp_path, whole["name"], whole | {name: [[whole]]})
        with pytest.raises(ValueError, match=rf"{whole['name']}\.json: .*\$\.{name}"):
            read_records(tmp_path)


def test_every_committed_record_has_its_checksum():
    for read in read_records(REPOSITORY / "results" / "runs"):
        assert read[SHA256] == checksum(read)
