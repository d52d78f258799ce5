"""From a sample to a training tile (paper §3.1): elastic field, rotation, shift, gray values."""
