"""Five folds of whole scans (FACTS A26, A27): no scan stands on both sides of a split."""

import hashlib
import re
from collections.abc import Collection

NUM_FOLDS = 5


def scan_of(seriesuid: str) -> str:
    """The scan a volume belongs to: single slices named `<seriesuid>.sNNNN` belong to the scan `<seriesuid>`."""
    return re.sub(r"\.s\d+$", "", seriesuid)


def fold_of(seriesuid: str, subset: int | None, subsets: Collection[int]) -> int:
    """The fold, 0 to 4, of a scan in the folder `subset<subset>` of a tree that has the folders `subsets`.

    LUNA16's ten subsets are folds in pairs (0 and 1 are fold 0).  Another number of folders, from two on, is dealt
    out in turn.  With one folder or none the hash of the scan's name decides, so that adding scans moves no other.
    """
    ordered = sorted(set(subsets))
    if subset is None or len(ordered) < 2:
        return int.from_bytes(hashlib.sha256(scan_of(seriesuid).encode()).digest()[:8], "big") % NUM_FOLDS
    if ordered == list(range(2 * NUM_FOLDS)):
        return subset // 2
    return ordered.index(subset) % NUM_FOLDS


def training_folds(test_folds: int | Collection[int]) -> tuple[int, ...]:
    """The folds that are not tested on."""
    tested = (test_folds,) if isinstance(test_folds, int) else test_folds
    return tuple(fold for fold in range(NUM_FOLDS) if fold not in tested)
