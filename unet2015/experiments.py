"""The files of the folder experiments/: each says only its difference from the baseline `paper`.

Each file holds `EXPERIMENT`, an `unet2015.config.ExperimentConfig`; the file's name is the
experiment's name in paths, records and tables. One of cell tracking may hold `INSTANCES`, how cells
are found. The file of an ablation also holds `change`, which makes the same difference to any
configuration, and its first line is the question that it answers.

To add an ablation: copy such a file, gelu.py say, ask its question, make its `change`, and name its
one difference in tests/test_experiments.py; it is an arm of `reproduce/ablations.py`. Where no
setting does what it needs, give one a further choice (or a new field, at the end of `ADDED_LATER`
too) in unet2015/config.py, with its source, and do it where that setting is read: an activation in
`_activation` of unet2015/model.py.

The files are modules of this one, `unet2015.experiments.paper`, wherever they lie: a module of that
name alone would be a user's own `experiments`.
"""

import difflib
import importlib
import pkgutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from unet2015.config import ExperimentConfig
from unet2015.inference.instances import InstanceConfig
from unet2015.reports.words import OPEN

_INSTALLED = Path(__file__).with_suffix("")
_CHECKOUT = Path(__file__).parents[1] / "experiments"
# where Python looks for the modules of this one
__path__ = [str(_INSTALLED if (_INSTALLED / "paper.py").is_file() else _CHECKOUT)]


def names() -> list[str]:
    """The names of all experiments, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ExperimentConfig:
    """The experiment of that name; an unknown one raises ValueError with the nearest names."""
    return _module(name, names()).EXPERIMENT


def instances(name: str) -> InstanceConfig:
    """How an experiment finds cells in the probability; an unknown name raises as `load`."""
    return getattr(_module(name, names()), "INSTANCES", InstanceConfig())


def arms() -> list[str]:
    """The names of the ablations, without those of the cell tracking sets alone, sorted."""
    candidates = [name for name in names() if not name.startswith("cell_tracking")]
    return [name for name in candidates if hasattr(_module(name, [name]), "change")]


def arm(name: str, base: ExperimentConfig) -> ExperimentConfig:
    """`base` with the ablation's difference; an unknown name raises ValueError with the nearest."""
    return _module(name, arms()).change(base)


def question(name: str) -> str:
    """The question that an ablation answers; an unknown name raises ValueError as `arm`."""
    return (_module(name, arms()).__doc__ or "").partition("\n")[0]


def preset_in_record(
    preset: str,
    experiment: str,
    config: ExperimentConfig,
    *,
    base: ExperimentConfig | None = None,
    as_it_is: bool = True,
) -> str:
    """The preset's name for a record, marked where `config` is not its settings any more.

    experiment: the file whose settings the preset has; base: these with an arm's difference. The
    preset `words.OPEN` stays itself with another number of steps and another precision, which
    tables name beside it. as_it_is: False where something that is not in `config` was changed.
    """
    base = base or load(experiment)
    if preset == OPEN:
        ours, theirs = config.training, base.training
        training = replace(ours, steps=theirs.steps, precision=theirs.precision)
        prediction = replace(config.prediction, precision=base.prediction.precision)
        config = replace(config, training=training, prediction=prediction)
    return preset if as_it_is and config == base else f"{preset}, changed"


def _module(name: str, known: list[str]) -> ModuleType:
    if name not in known:
        near = difflib.get_close_matches(name, known, cutoff=0.3) or known
        raise ValueError(f"experiment {name!r} is unknown; nearest: {', '.join(near)}")
    return importlib.import_module(f"{__name__}.{name}")
