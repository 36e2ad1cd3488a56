"""Several systems on the same data, masks and budget: trained, evaluated and compared in the paper's tables.

settings.py   the file, read without JAX          dry_run.py  --dry-run
run.py        one run directory a system          sharing.py  what two systems have in common is made once
figures.py    Figures 4 and 5                     page.py     tables and the page
"""
