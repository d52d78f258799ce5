"""The options of a command, read by cyclopts from its dataclass.

A command is a dataclass whose fields are its options and whose docstrings are their help. The
defaults of most depend on another option, --experiment or --preset, whereas cyclopts takes them
from the class: so it is given a class of the same fields made with these defaults. `--help` shows
what matters first, `--help-all` every option, `--config FILE.toml` gives options in a file.
"""

import dataclasses
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from cyclopts import App, Argument, CycloptsError, Group, Parameter
from cyclopts.config import Toml
from docstring_parser import parse_from_object

from unet2015.runtime.read_back import read_text

FLAT = Parameter(name="*")
"""Marks a field that is a dataclass itself, whose options have no prefix."""
ALL = "--help-all"
OPTIONS = Group("Options", sort_key=0)
ConfigFile = Annotated[
    Path | None, Parameter(group=OPTIONS, help="Options in a TOML file; those typed win.")
]
Shell = Literal["bash", "zsh", "fish", "powershell"]
Defaults = Callable[..., Mapping[str, Any]]
_SETTING = re.compile(r"(?<![\w.-])([a-z]\w*(?:\.\w+)?) = ('\w+'|[\w.+-]*\w)")


def no_defaults() -> Mapping[str, Any]:
    """Of a command whose defaults depend on no other option."""
    return {}


def parse_options(
    kind: Any,
    argv: Sequence[str] | None,
    *,
    defaults: Defaults = no_defaults,
    about: str | None = None,
) -> Any:
    """The options of `kind`, a dataclass, in `argv` (None: the command line's).

    kind: its class variable FIRST, if it has one, names the options that --help shows. defaults: a
    function of the options on which others' defaults depend; it returns these, by field. about:
    what --help begins with; default: the docstring of `kind`. What is refused raises ValueError
    with one line that names the option, the rule, and where help is found. --help ends here.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    return _read(_app(f"python {sys.argv[0]}", about or kind.__doc__), "", given, kind, defaults)


def parse_command(
    commands: Mapping[str, tuple[Any, Defaults]], argv: Sequence[str] | None, about: str
) -> Any:
    """As `parse_options`, for `python -m unet2015`. commands: name → (kind, defaults)."""
    given = list(sys.argv[1:] if argv is None else argv)
    app = _app("python -m unet2015", about)
    for place, (name, (kind, _)) in enumerate(commands.items()):
        app.command(_app(name, kind.__doc__, sort_key=place))
    if not given:
        known = ", ".join(commands)
        raise ValueError(f"a command is missing: one of {known}. See {app.name[0]} --help")
    if given[0] not in commands:
        return _run(app, given, app.name[0])
    return _read(app, given[0], given[1:], *commands[given[0]])


def completion_script(
    commands: Mapping[str, tuple[Any, Defaults]], program: str, shell: Shell
) -> str:
    """What lets a shell complete `program`'s commands, options and choices."""
    app = App(name=program)
    for name, (kind, _) in commands.items():
        app.command(_function(_with_defaults(kind, {}, None)), name=name)
    return app.generate_completion(shell=shell)


def _app(name: str, about: str | None, **more: Any) -> App:
    plain = Parameter(consume_multiple=True, negative_iterable=(), negative_none=())
    more |= {"help_format": "plaintext", "version_flags": [], "default_parameter": plain}
    # lines of a paragraph are joined, so that the terminal's width breaks them; commands are not
    paragraphs = re.sub(r"(?<=\S)\n(?=\S)", " ", about or "").replace("\n    ", "\n")
    app = App(name=name, help=paragraphs, **more)
    app["--help"].show = False
    return app


def _read(app: App, name: str, given: list[str], kind: Any, defaults: Defaults) -> Any:
    """Let the app, or its command of that name, read what is given to it."""
    command = app[name] if name else app
    program = f"{app.name[0]} {name}".rstrip()
    first = None if ALL in given else getattr(kind, "FIRST", None)
    file = _known(_config_file, given, None, program)
    command.config = (*_in_file(file, allow_unknown=False), _refuse_misread)
    values = _known(defaults, given, file, program)
    command.default(_function(_with_defaults(kind, values, first)))
    if first is not None:
        command.help_epilogue = (
            f"{program} {ALL} shows every option, with where its default comes from."
        )
    tokens = ["--help" if token == ALL else token for token in given]
    return _run(app, [name, *tokens] if name else tokens, program)


def _config_file(*, config: ConfigFile = None) -> Path | None:
    if config is not None:
        try:
            tomllib.loads(read_text(config))
        except (OSError, ValueError) as error:
            raise ValueError(f"--config {config}: cannot be read as TOML ({error})") from error
    return config


def _in_file(file: Path | None, *, allow_unknown: bool) -> tuple[Toml, ...]:
    options: Any = {"allow_unknown": allow_unknown, "use_commands_as_keys": False}
    return () if file is None else (Toml(file, source=str(file), **options),)


def _refuse_misread(_app: App, _commands: Sequence[str], options: Iterable[Argument]) -> None:
    """Refuse what cyclopts takes for something else: 1.5 for 2, --model 3 for its first field."""
    for option in options:
        whole = re.search(r"\bint\b", str(option.hint))
        for token in option.tokens:
            typed = f"{option.name} {token.value}"
            if not token.value and "Path" in str(option.hint):
                raise ValueError(f"{option.name} '': is no path; . is the current folder")
            if option.children:
                raise ValueError(
                    f"{typed}: is no option by itself; {option.children[0].name} is one"
                )
            if whole and re.fullmatch(r"[+-]?\d*\.\d*[1-9]\d*", token.value):
                raise ValueError(f"{typed}: must be an integer")


def _known(function: Callable[..., Any], given: list[str], file: Path | None, program: str) -> Any:
    """What `function` returns for those of its options that are given; others are passed over."""
    source = _in_file(file, allow_unknown=True)
    app = App(default_command=function, help_flags=[], version_flags=[], config=source)
    with _one_line(program):
        run, bound, *_ = app.parse_known_args(given)
        return run(*bound.args, **bound.kwargs)


def _run(app: App, tokens: list[str], program: str) -> Any:
    with _one_line(program):
        run, bound, _ = app.parse_args(tokens, print_error=False, exit_on_error=False)
        found = run(*bound.args, **bound.kwargs)
    if found is None:  # that was --help
        raise SystemExit(0)
    return found.made


@contextmanager
def _one_line(program: str) -> Iterator[None]:
    """Let what is refused be a ValueError of one line that says where help is found."""
    try:
        yield
    except (CycloptsError, ValueError) as error:
        if isinstance(error, CycloptsError):
            error.verbose = False
        reason = " ".join(str(error).split())
        end = "" if reason.endswith((".", "?")) else "."
        raise ValueError(f"{reason}{end} See {program} --help") from error


def _function(made: type) -> Callable[..., Any]:
    """What cyclopts calls with the options that it has read."""

    def options(options, *, config=None):
        return options

    options.__annotations__ = {"options": Annotated[made, FLAT], "config": ConfigFile}
    if all(parameter.default is not parameter.empty for parameter in _parameters(made)):
        options.__defaults__ = (made(),)
    return options


def _parameters(made: type) -> list[inspect.Parameter]:
    return list(inspect.signature(made).parameters.values())


def _with_defaults(
    kind: Any,
    values: Mapping[str, Any],
    first: Sequence[str] | None,
    *,
    prefix: str = "",
    group: Group = OPTIONS,
    nested: bool = False,
) -> type:
    """A class with the fields of `kind` that have the defaults `values`, or those of `kind`.

    An instance has the `kind` made of its values as attribute `made`. first: names of the options
    that --help shows; None: all. prefix: what stands before the options' names. group: of the help.
    """
    texts = {text.arg_name: text.description or "" for text in parse_from_object(kind).params}
    hints, fields = get_type_hints(kind, include_extras=True), []
    for item in dataclasses.fields(kind):
        hint, default = hints[item.name], values.get(item.name, _default(item))
        mark = Parameter(show=first is None or prefix + item.name in first, group=group)
        if dataclasses.is_dataclass(default):
            flat = FLAT in get_args(hint)
            hint = _with_defaults(
                type(default),
                vars(default),
                first,
                prefix=prefix if flat else f"{prefix}{item.name}.",
                group=Group.create_ordered(_first_line(default)) if first is None else group,
                nested=True,
            )
            default, mark = hint(), FLAT if flat else Parameter()
        about: dict[str, Any] = {"metadata": {"help": " ".join(texts.get(item.name, "").split())}}
        if default is not dataclasses.MISSING:
            about["default"] = default
        option = dataclasses.field(kw_only=item.kw_only or nested, **about)
        fields.append((item.name, Annotated[hint, mark], option))

    def make(self: Any) -> None:
        read = {item.name: getattr(self, item.name) for item in dataclasses.fields(kind)}
        try:
            made = kind(**{name: getattr(value, "made", value) for name, value in read.items()})
        except ValueError as error:
            raise ValueError(_as_options(str(error), prefix, read.keys())) from error
        object.__setattr__(self, "made", made)

    found = dataclasses.make_dataclass(
        kind.__name__, fields, frozen=True, namespace={"__post_init__": make}
    )
    found.__module__ = __name__  # of the standard library's classes cyclopts reads no fields
    return found


def _default(item: dataclasses.Field) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


def _first_line(settings: Any) -> str:
    return (type(settings).__doc__ or "").partition("\n")[0]


def _as_options(message: str, prefix: str, names: Container[str]) -> str:
    """A message of the settings with `--model.dropout 1.0` in place of `dropout = 1.0`."""

    def option(found: re.Match[str]) -> str:
        if found[1].partition(".")[0] not in names:
            return found[0]
        value = found[2].strip("'")
        return f"--{prefix.replace('_', '-')}{found[1].replace('_', '-')} {value}"

    return _SETTING.sub(option, message)
