"""From a sample to a training tile (paper §3.1): rotation, elastic field, shift, gray values."""
