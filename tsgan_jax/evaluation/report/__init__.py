"""report.html: one file that needs no network and no script, drawn from what a run's folder holds."""

from tsgan_jax.evaluation.report.page import document, save_tables, shown_tables, write_report, write_tables

__all__ = ["document", "save_tables", "shown_tables", "write_report", "write_tables"]
