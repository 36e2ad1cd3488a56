"""Evaluation of a trained run: image quality, masks, adherence of CT to masks, copies, tables and the report."""
