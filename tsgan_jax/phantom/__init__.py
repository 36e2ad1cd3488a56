"""A procedural chest CT to use in place of LUNA16: patients in memory, or written as a LUNA16 tree."""

from tsgan_jax.phantom.nodules import PhantomNodule
from tsgan_jax.phantom.patient import Patient, patient
from tsgan_jax.phantom.writing import write_tree

__all__ = ["PhantomNodule", "Patient", "patient", "write_tree"]
