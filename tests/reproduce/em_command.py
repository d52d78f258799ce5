"""What reproduce/em_challenge.py imports, for a fork server to import once."""

import matplotlib.pyplot as plt

from unet2015.cli import evaluation
from unet2015.reports import em_challenge
from unet2015.studies import em

__all__ = ["em", "em_challenge", "evaluation", "plt"]
