"""Several systems on the same data, masks and budget: trained, judged, put side by side in the paper's tables.

settings.py   the file, read without JAX          plan.py     --dry-run
conduct.py    one run directory a system          sharing.py  what two systems have in common is made once
figures.py    Figures 4 and 5                     page.py     tables and the page
"""
