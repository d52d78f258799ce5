"""What every stage stands on: atomic files, provenance, devices, processes, signals."""
