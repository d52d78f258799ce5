"""One part of an experiment in a folder of its own: trained, predicted, scored, each once."""
