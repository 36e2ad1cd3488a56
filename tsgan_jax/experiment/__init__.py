"""One experiment in one run directory: its data, both stages, a generated set and its evaluation."""
