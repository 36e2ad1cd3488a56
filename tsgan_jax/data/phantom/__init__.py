"""A procedural chest CT that stands in for LUNA16: patients in memory, or written as a LUNA16 tree."""

from .nodules import Nodule
from .patient import Patient, patient
from .writing import write_tree

__all__ = ["Nodule", "Patient", "patient", "write_tree"]
