"""The six classes of a labelled slice and their codes.

Codes follow the paper's section 3.1 (left lung 2, right lung 3; FACTS A24); LUNA16's masks use other
codes and are remapped when they are read (`data/verify.py`).
"""

import numpy as np

BACKGROUND, BODY, LEFT_LUNG, RIGHT_LUNG, TRACHEA, NODULE = range(6)
NUM_CLASSES = 6
NAMES = ("background", "body", "left lung", "right lung", "trachea", "nodule")

SMALL = (TRACHEA, NODULE)
"""Classes of small objects, which pooling and averages lose; a nodule has precedence."""

PRECEDENCE = (NODULE, TRACHEA, LEFT_LUNG, RIGHT_LUNG, BODY, BACKGROUND)
"""Where structures overlap, the earlier one in this tuple is the pixel's class."""

MIRROR = np.array([BACKGROUND, BODY, RIGHT_LUNG, LEFT_LUNG, TRACHEA, NODULE], np.uint8)
"""`MIRROR[mask]` relabels a left-right mirrored slice, so that its left lung keeps the code of the left lung."""

PALETTE = np.array(
    [[0, 0, 0], [92, 99, 112], [78, 158, 214], [70, 190, 150], [244, 196, 72], [226, 62, 72]],
    np.uint8,
)
"""RGB colour of each class, for the eye."""
