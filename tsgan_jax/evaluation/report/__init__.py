"""report.html: one file without network access or scripts, made from the files of a run."""

from tsgan_jax.evaluation.report.page import write_page, write_report, write_tables

__all__ = ["write_page", "write_report", "write_tables"]
