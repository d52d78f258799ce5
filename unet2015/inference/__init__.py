"""The overlap-tile strategy (paper §2, Fig. 2), averaging over views (§4), instances."""
