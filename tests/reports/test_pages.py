"""Templates become pages, and README.md gets its tables between their markers."""

import pytest
from jinja2 import UndefinedError

from tests.commands import run
from unet2015.reports import pages


def test_a_value_that_a_template_wants_and_is_not_given_is_an_error():
    with pytest.raises(UndefinedError):
        pages.render("em_challenge")


@pytest.mark.parametrize("path", sorted(pages.TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_a_table_has_an_empty_line_after_what_folds_it(path):
    """Else GitHub shows its source."""
    text = path.read_text(encoding="utf-8")
    assert text.count("</summary>\n\n") == text.count("<summary>")
    assert text.count("\n\n</details>\n") == text.count("<details>")


def test_readme_gets_its_tables_between_their_markers_and_keeps_the_rest(tmp_path):
    readme = tmp_path / "README.md"
    assert pages.write_readme(readme, {"a": "new"}) == []
    text = "# Title\n<!-- results:a -->\nbygone\n<!-- /results -->\nafter\n"
    readme.write_text(text, encoding="utf-8")
    for _ in range(2):
        assert pages.write_readme(readme, {"a": "new", "b": "of no marker"}) == [readme]
        assert readme.read_text(encoding="utf-8") == text.replace("bygone", "new")
    readme.write_text("<!-- results:a --> and no end", encoding="utf-8")
    with pytest.raises(ValueError, match=r"README\.md"):
        pages.write_readme(readme, {"a": "new"})
    assert readme.read_text(encoding="utf-8").endswith("no end")


def test_the_script_ends_bad_input_with_one_message_and_exit_code_2(tmp_path, capsys):
    assert run("reproduce/tables.py", "--results", tmp_path / "nowhere") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "nowhere" in said
    assert said.count("\n") == 1
