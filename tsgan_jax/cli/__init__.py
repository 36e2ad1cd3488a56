"""Commands: argument parsing, printing and exit codes only."""
