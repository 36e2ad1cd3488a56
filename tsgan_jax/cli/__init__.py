"""Commands: argument parsing, printing and exit codes, and nothing else."""
