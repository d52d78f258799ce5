"""A display that is lost, in processes of their own: the work goes on, and nobody complains."""

import io
import os
import subprocess
import sys

import pytest

from tests.commands import ROOT
from unet2015.runtime.streams import UntilLost, until_lost

SAYS_MUCH = """
import os, sys
from pathlib import Path
from unet2015.runtime.streams import until_lost

with until_lost():
    for k in range(20000):
        print("a line of this run", k, flush=k % 100 == 0)
        print("a bar of this run", k, file=sys.stderr)
    with Path(sys.argv[1]).open("w") as opened:
        print("to stderr", file=sys.stderr, flush=True)
        os.write(2, b"what a library prints by itself")
        opened.write("done")
"""


@pytest.mark.parametrize(
    "lost",
    ["2>&1 | head -c 1", "2>/dev/full >/dev/full", "2>&- >&-", "2>&-", ">&-", "2>&1 | true"],
)
def test_the_work_is_done_without_a_display(tmp_path, lost):
    script, done, code = tmp_path / "says.py", tmp_path / "done", tmp_path / "code"
    script.write_text(SAYS_MUCH)
    ended = subprocess.run(
        ["bash", "-c", f"( {sys.executable} {script} {done}; echo $? > {code} ) {lost}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.read_text() == "done"
    assert code.read_text() == "0\n"
    assert b"Exception" not in ended.stderr + ended.stdout
    assert b"Traceback" not in ended.stderr + ended.stdout


def test_what_is_not_lost_is_as_it_was(capsys):
    before = sys.stdout, sys.stderr
    with until_lost():
        print("512 × 512")
        print("said", file=sys.stderr)
        assert isinstance(sys.stdout, UntilLost)
        assert sys.stdout.encoding
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("512 × 512\n", "said\n")
    ascii_only = UntilLost(io.TextIOWrapper(io.BytesIO(), "ascii"))
    with pytest.raises(UnicodeEncodeError):
        ascii_only.write("×")
