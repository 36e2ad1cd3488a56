"""report.html: one file without network access or scripts, made from the files of a run."""

from tsgan_jax.evaluation.report.page import document, save_tables, shown_tables, write_report, write_tables

__all__ = ["document", "save_tables", "shown_tables", "write_report", "write_tables"]
