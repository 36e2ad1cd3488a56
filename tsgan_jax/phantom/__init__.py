"""A procedural chest CT that stands in for LUNA16: patients in memory, or written as a LUNA16 tree."""

from tsgan_jax.phantom.nodules import Nodule
from tsgan_jax.phantom.patient import Patient, patient
from tsgan_jax.phantom.writing import write_tree

__all__ = ["Nodule", "Patient", "patient", "write_tree"]
