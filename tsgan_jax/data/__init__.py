"""LUNA16 tree to numpy batches.  Only here: tensorflow, tensorflow_datasets, SimpleITK."""
