"""From a LUNA16 tree to numpy batches.  Only this package imports TensorFlow, TensorFlow Datasets and SimpleITK."""
