"""What the command line's parser refuses, as one line that names the option as it was typed.

tyro draws boxes, wrapped to the terminal, that name its own inner fields. No public function of it
gives the reason alone, so the reason is read from the box's text. Whatever a later tyro words
otherwise comes out as that text on one line, without the box.
"""

import difflib
import re
from collections.abc import Sequence

_KINDS = {"INT": ("an integer", "integers"), "FLOAT": ("a number", "numbers")}
_SETTING = re.compile(r"(?<![\w.-])([a-z]\w*(?:\.\w+)?) = ('\w+'|[\w.+-]*\w)")


def options_in(help_text: str) -> list[str]:
    """The options that a command's --help lists, in its order."""
    heads = re.findall(r"^[\s│|]*((?:-\w, )?--[\w.-]+(?:, --[\w.-]+)*)", help_text, re.MULTILINE)
    return list(dict.fromkeys(option for head in heads for option in head.split(", ")))


def unknown_command(word: str | None, commands: Sequence[str]) -> str:
    """What is wrong with the first word, which is none of the commands; None: there is none."""
    if word is None:
        return f"a command is missing: one of {', '.join(commands)}"
    near = difflib.get_close_matches(word, commands, cutoff=0.5)
    return f"{word}: is no command; nearest: {', '.join(near or commands)}"


def refusal(box: str, argv: Sequence[str], known: Sequence[str]) -> str:
    """The reason that a box of tyro gives for refusing `argv`, as one line naming the option.

    box: the text, not wrapped, with or without its frame. known: the options that there are.
    """
    lines = [re.sub(r"^[│|]? ?|\s*[│|]?$", "", line) for line in box.splitlines()]
    text = "\n".join(lines)
    for token in argv:
        name = token.partition("=")[0].replace("_", "-")
        option = re.fullmatch(r"--?[A-Za-z][\w.-]*", name)
        if option and name not in known and re.search(rf"(?<!\S){re.escape(token)}(?!\w)", text):
            return _unknown_option(token.partition("=")[0], known)
    for pattern, said in (
        (r"Error parsing (--[\w.-]+)[^:]*: ", lambda m: _wrong_kind(m[1], argv, text)),
        (r"Error parsing ([^:]*): (.*)", lambda m: naming_options(m[2], known, argv, m[1])),
        (
            r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*?),?\)",
            lambda m: f"{m[2]} {m[1]}: must be one of {m[3].replace(chr(39), '')}",
        ),
        (
            r"Missing value for argument '(.*)'\. Expected (\d+)",
            lambda m: f"{m[1]}: needs {m[2]} value{'s' * (m[2] != '1')}",
        ),
        (r"Missing from .*:\n((?:.*\n)*)", lambda m: f"missing: {_required(m[1])}"),
        (r"Unrecognized options: (.*)", lambda m: f"{m[1].split(', ')[0]}: belongs to no option"),
    ):
        found = re.search(pattern, text)
        if found:
            return said(found)
    return _on_one_line(lines)


def naming_options(
    message: str, known: Sequence[str], argv: Sequence[str], section: str = ""
) -> str:
    """A message of the settings with `--model.dropout 1` in place of `dropout = 1.0`.

    Names that are no option of `known` stay. section: the settings that the message is of, as
    'config.model', for names that several have. The first value is put as `argv` has it.
    """
    section = section.split(".")[-1]

    def option(found: re.Match[str]) -> str:
        name = found[1].replace("_", "-")
        candidates = [f"--{section}.{name}", f"--{name}"]
        option = next((each for each in candidates if each in known), None)
        if option is None:
            return found[0]
        typed = _typed(option, argv) if found.start() == 0 else ""
        return f"{option} {typed or found[2].strip(chr(39))}"

    return " ".join(_SETTING.sub(option, message).split())


def _unknown_option(typed: str, known: Sequence[str]) -> str:
    """That there is no such option, with the nearest: alike, or with all parts of the name."""
    parts = typed.lstrip("-").replace("_", "-").split(".")
    telling = len("".join(parts)) > 2
    holding = [each for each in known if telling and all(part in each for part in parts)]
    close = difflib.get_close_matches(typed, known, cutoff=0.7)
    near = list(dict.fromkeys([*close, *holding]))[:4]
    return f"{typed}: is no option" + (f"; nearest: {', '.join(near)}" if near else "")


def _wrong_kind(option: str, argv: Sequence[str], text: str) -> str:
    """That a value is of another kind than its option takes, which the box shows beside it."""
    metavar = re.search(rf"^ +{re.escape(option)}(?:, \S+)* (.+)$", text, re.MULTILINE)
    return f"{option} {_typed(option, argv)}: must be {_kind(metavar[1] if metavar else 'another')}"


def _kind(metavar: str) -> str:
    """
    >>> _kind("INT"), _kind("{None}|{FLOAT FLOAT}"), _kind("[INT [INT ...]]")
    ('an integer', 'None or 2 numbers', 'integers')
    """
    if metavar.startswith("{None}|"):
        return f"None or {_kind(metavar.removeprefix('{None}|'))}"
    words = metavar.strip("{}").replace("[", "").replace("]", "").split()
    if not words or words[0] not in _KINDS:
        return metavar
    one, several = _KINDS[words[0]]
    if "[" in metavar:
        return several
    return one if len(words) == 1 else f"{len(words)} {several}"


def _typed(option: str, argv: Sequence[str]) -> str:
    """The values of an option as they were typed; empty if it was not given."""
    values: list[str] = []
    reading = False
    for token in argv:
        name, equals, value = token.partition("=")
        if token.startswith("--"):
            reading = name.replace("_", "-") == option
            values = ([value] if equals else []) if reading else values
        elif reading:
            values.append(token)
    return " ".join(values)


def _required(block: str) -> str:
    """The heads of a list of options; what a file is that has no option, and so no name."""
    lines = re.split(r"\n\s*[-─]{8,}", block)[0].splitlines()
    depths = [len(line) - len(line.lstrip()) for line in lines]
    heads = []
    for line, depth, about in zip(lines, depths, [*lines[1:], ""], strict=True):
        if line.strip() and depth == min(depths):
            told = about.strip().removesuffix("(required)").rstrip(". ")
            heads.append(line.strip() + ("" if line.strip().startswith("-") else f" ({told})"))
    return ", ".join(heads)


def _on_one_line(lines: Sequence[str]) -> str:
    """What a box says, without its frame and where it sends for help."""
    words = [line.strip() for line in lines if re.search(r"\w", line)]
    return " ".join(word for word in words if not word.startswith("For full helptext")) or "refused"
