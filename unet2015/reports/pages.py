"""Pages: the templates of results/templates/, filled in and written.

A template reads as the page that it makes; what Python hands in are rows of tables, numbers and
named conditions. The same values give the same bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from unet2015.reports.words import commit_in_words, plan_in_words, spans
from unet2015.runtime.atomic import write_text
from unet2015.runtime.record import REPOSITORY

TEMPLATES = REPOSITORY / "results" / "templates"
"""Wherever the pages go, their templates are those beside this code."""
END = "<!-- /results -->"


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
    filters = (
        table,
        table_lines,
        runs_table,
        record_link,
        listed,
        spans,
        commit_in_words,
        plan_in_words,
    )
    environment.filters.update({function.__name__: function for function in filters})
    return environment.get_template(f"{template}.md.j2").render(values)


def table(lines: Iterable[Sequence[str]], head: Sequence[str]) -> str:
    """A Markdown table; a line shorter than the head has empty cells at its end.

    >>> print(table([["1|2"]], ["a", "b"]))
    | a | b |
    | --- | --- |
    | 1\\|2 |  |
    """
    filled = [[*line, *[""] * (len(head) - len(line))] for line in lines]
    return table_lines([head, ["---"] * len(head), *filled])


def table_lines(lines: Iterable[Sequence[str]]) -> str:
    """Lines of a Markdown table, below the head that stands in a template."""
    cells = [[cell.strip().replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def runs_table(lines: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    """A table of runs; what is long and the same for all of them stands once, above it.

    >>> print(runs_table([["a", "x"], ["b", "x"]], ["record", "command"]))
    command of all: x
    <BLANKLINE>
    | record |
    | --- |
    | a |
    | b |
    """
    long = ("command", "hardware", "versions", "data") if len(lines) > 1 else ()
    columns = zip(head, zip(*lines, strict=True), strict=True)
    shared = {name: cells[0] for name, cells in columns if name in long and len({*cells}) == 1}
    kept = [place for place, name in enumerate(head) if name not in shared]
    rest = table([[line[k] for k in kept] for line in lines], [head[k] for k in kept])
    said = "<br>\n".join(f"{name} of all: {cell}" for name, cell in shared.items())
    return f"{said}\n\n{rest}" if said else rest


def record_link(name: str, folder: str = "runs") -> str:
    """A record's name as a link to its file, from a page in results/.

    >>> record_link("a_run")
    '[a_run](runs/a_run.json)'
    """
    return f"[{name}]({folder}/{name}.json)"


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])


def mean(figures: Iterable[float], decimals: int = 4, sign: str = "") -> str:
    """The mean of the seeds' figures, ± half their range if there are several; '' for none.

    >>> mean([0.25, 0.5, 0.75], 2), mean([0.5], 1, "+"), mean([])
    ('0.50 ± 0.25', '+0.5', '')
    """
    values = list(figures)
    if not values:
        return ""
    spread = f" ± {(max(values) - min(values)) / 2:.{decimals}f}" if len(values) > 1 else ""
    return f"{fmean(values):{sign}.{decimals}f}{spread}"


def write_readme(readme: Path, tables: Mapping[str, str]) -> list[Path]:
    """Put each table between its marker <!-- results:name --> and the next end, where it is.

    Returns the path, if there is such a file. Raises ValueError for a marker without its end.
    """
    if not readme.is_file():
        return []
    text = readme.read_text(encoding="utf-8")
    for name, lines in tables.items():
        before, start, rest = text.partition(f"<!-- results:{name} -->")
        _, end, after = rest.partition(END)
        if start and not end:
            raise ValueError(f"{readme}: has {start} but no {END} after it")
        text = f"{before}{start}\n{lines}\n{end}{after}" if start else text
    return write({readme: text})


def write(pages: Mapping[Path, str]) -> list[Path]:
    """Write every page, all of which are made by now; returns the paths."""
    for path, page in pages.items():
        write_text(path, page)
    return list(pages)
