"""Training, evaluation and comparison of several systems on the same data, masks and budget, in the paper's tables.

settings.py   the file, read without JAX          dry_run.py  --dry-run
run.py        one run directory per system        sharing.py  reuse of stages and detectors
figures.py    Figures 4 and 5                     page.py     tables and the page
"""
