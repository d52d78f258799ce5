"""Pages: the templates of results/templates/, filled in and written.

A template reads as the page that it makes, and declares the columns of its tables; what Python
hands in are rows, numbers and named conditions. The same values give the same bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from unet2015.reports.words import commit_in_words, spans
from unet2015.runtime.atomic import write_text
from unet2015.runtime.read_back import read_text
from unet2015.runtime.record import REPOSITORY

TEMPLATES = REPOSITORY / "results" / "templates"
"""Wherever the pages go, their templates are those beside this code."""
END = "<!-- /results -->"
LONG = ("command", "hardware", "versions", "data")
"""Columns of a table of runs that stand above it where they are the same for all."""


def render(template: str, **values: object) -> str:
    """The page that results/templates/<template>.md.j2 makes of the values.

    Raises jinja2.UndefinedError for a value that the template wants and is not given.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # Markdown, not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for function in (table, lines, runs_table, listed, spans, commit_in_words):
        environment.filters[function.__name__] = function
    return environment.get_template(f"{template}.md.j2").render(values)


def table(rows: Sequence[Mapping[Any, Any]], columns: Sequence[str] = (), none: str = "–") -> str:
    """A Markdown table of rows; columns: 'head=field:format', or 'field' alone.

    Without columns, they are the fields of the first row. See `cell`; a row that has no such field
    has an empty cell.

    >>> print(table([{"a": "1|2", "b.c": 0.5}, {"a": None}], ["=a", "share=b.c:.0%"]))
    |  | share |
    | --- | --- |
    | 1\\|2 | 50% |
    | – |  |
    """
    head = [column.partition("=")[0] for column in columns] or [*rows[0]]
    start = [_line(head), _line(["---"] * len(head))]
    return "\n".join([*start, lines(rows, columns, none)]).rstrip()


def lines(rows: Sequence[Mapping[Any, Any]], columns: Sequence[str], none: str = "–") -> str:
    """The same without a head, which stands in the template."""
    fields = [column.rpartition("=")[2].partition(":") for column in columns]
    fields = fields or [(name, "", "") for name in rows[0]]
    return "\n".join(
        _line(cell(row.get(name, ""), form, none) for name, _, form in fields) for row in rows
    )


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(each.strip().replace("|", "\\|") for each in cells) + " |"


def cell(value: Any, form: str = "", none: str = "–") -> str:
    """A figure in its format; of several seeds their mean, ± half their range.

    >>> cell(0.5, "+.1f"), cell("not run", ".1f"), cell([0.25, 0.5, 0.75], "+.2f"), cell([])
    ('+0.5', 'not run', '+0.50 ± 0.25', '–')
    """
    if value is None or value == []:
        return none
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return format(value, form)
    half = (max(value) - min(value)) / 2
    return f"{fmean(value):{form}}" + f" ± {half:{form.strip('+')}}" * (len(value) > 1)


def runs_table(rows: Sequence[Mapping[Any, Any]], columns: Sequence[str]) -> str:
    """A table of runs; what is long and the same for all of them stands once, above it.

    >>> print(runs_table([{"seed": 0, "command": "x"}, {"seed": 1, "command": "x"}],
    ...                  ["seed", "command"]))
    command of all: x
    <BLANKLINE>
    | seed |
    | --- |
    | 0 |
    | 1 |
    """
    long = [name for name in LONG if name in columns and len(rows) > 1]
    shared = [name for name in long if len({row[name] for row in rows}) == 1]
    said = "<br>\n".join(f"{name} of all: {rows[0][name]}" for name in shared)
    rest = table(rows, [column for column in columns if column not in shared])
    return f"{said}\n\n{rest}" if said else rest


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])


def write_readme(readme: Path, tables: Mapping[str, str]) -> list[Path]:
    """Put each table between its marker <!-- results:name --> and the next end, where it is.

    Returns the path, if there is such a file. Raises ValueError for a marker without its end.
    """
    if not readme.is_file():
        return []
    text = read_text(readme)
    for name, found in tables.items():
        before, start, rest = text.partition(f"<!-- results:{name} -->")
        _, end, after = rest.partition(END)
        if start and not end:
            raise ValueError(f"{readme}: has {start} but no {END} after it")
        text = f"{before}{start}\n{found}\n{end}{after}" if start else text
    return write({readme: text})


def write(pages: Mapping[Path, str]) -> list[Path]:
    """Write every page, all of which are made by now; returns the paths."""
    for path, page in pages.items():
        write_text(path, page)
    return list(pages)
