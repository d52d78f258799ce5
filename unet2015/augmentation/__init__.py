"""From a sample to a training tile (paper §3.1): elastic deformation, rotation, shift, gray values."""
