"""The faithful baseline: everything that the paper states.

Every value is the default of `unet2015.config`, where its source stands beside it. What the paper
leaves open (learning rate, schedule, length, w_c, gray-value model …) is our choice, listed in
the README under "Open questions". A run needs an accelerator: 80,000 steps of 0.9 TFLOP.
"""

from unet2015.config import ExperimentConfig

EXPERIMENT = ExperimentConfig()
