"""Tables 1 to 4 of the paper's section 4 from records, with the paper's figures.

The paper's figures are those that docs/paper.md and the notes on A33 to A38 quote; others are dashes.  They are from
other images, splits and networks, so they are not a target (A37).
"""

from collections.abc import Callable, Iterable, Sequence
from statistics import mean
from typing import TypeVar

from tsgan_jax.config import CONTROLNET_STYLE, DEFORMED_MASKS, MASKS_OF, REAL_MASKS
from tsgan_jax.evaluation.records import DETECTION, MINUS_REAL, Record
from tsgan_jax.evaluation.regions import REGIONS
from tsgan_jax.evaluation.table import (
    NONE,
    Table,
    shown_count,
    shown_difference,
    shown_interval,
    shown_spread,
    shown_value,
)

K = TypeVar("K")

SYSTEMS = {
    "real": "real images only",
    "cyclegan": "CycleGAN",
    "gaugan": "GauGAN",
    "attentiongan": "AttentionGAN",
    "controlnet": "ControlNet",  # the paper's; not a system of this project
    "controlnet_style": CONTROLNET_STYLE,
    "pix2pix": "Pix2Pix",
    "pix2pix+lia": "Pix2Pix + LIA",
    "pix2pix+dwmh": "Pix2Pix + DWMH",
    "dl_pix2pix": "DL-Pix2Pix",
}
"""Names in the order of rows, then the same on deformed and on real masks; other names follow unchanged."""

PARTS = ("pix2pix", "pix2pix+lia", "pix2pix+dwmh", "dl_pix2pix")
ABLATION = tuple(system + masks for masks in (REAL_MASKS, DEFORMED_MASKS, "") for system in PARTS)
_DEFORMED = (
    "Deformed masks: masks of the training slices, warped, with nodules of real sizes at other places. "
    "They are a baseline for StyleGAN's masks and are not in the paper."
)

PAPER_1 = {
    ("dl_pix2pix", "full"): {"FID": "58.077", "PSNR": "20.692", "SSIM": "0.636"},
    ("dl_pix2pix", "lungs"): {"FID": "25.148", "PSNR": "21.364", "SSIM": "0.827"},
    ("controlnet", "full"): {"FID": "about 40"},
    ("controlnet", "lungs"): {"FID": "about 105"},
}
PAPER_2 = {
    "real": {"precision": "0.791", "recall": "0.720"},
    "gaugan": {"recall": "0.788", "mAP": "0.785"},
    "attentiongan": {"mAP": "0.790"},
    "controlnet": {"precision": "0.845", "recall": "0.700", "mAP": "0.789"},
    "dl_pix2pix": {"precision": "0.837", "recall": "0.761", "mAP": "0.792"},
}
PAPER_4 = {
    "pix2pix": {"mAP": "0.793"},
    "pix2pix+lia": {"FID": "30.264"},
    "pix2pix+dwmh": {"mAP": "0.800"},
    "dl_pix2pix": {"FID": "32.187", "PSNR": "15.571", "SSIM": "0.669", "mAP": "0.792"},
}

DASH = f"{NONE} in a column of the paper: the figure is not published; {NONE} elsewhere: not computed here."
PAPER_MAP = "The paper's mAP is probably mAP50 (A33); its detector's version, size and image size are not given (A44)."
MEANS = "Values over several folds are means ± standard deviation of the folds."
DIFFERENCES = (
    "Differences are from the same detector trained only on the same real images, by pycocotools' formulas, on the "
    "same test images; in brackets the 95 % interval over resampled scans. With one seed it excludes the variation of "
    "training."
)


def tables(records: Iterable[Record]) -> list[Table]:
    """Tables 1 to 4.  records: the newest of each figure, of one run or of several (other folds, other systems)."""
    known = list(records)
    return [_table1(known), _table2(known), _table3(known), _table4(known)]


def _table1(records: Sequence[Record]) -> Table:
    """Image quality: one row per system, region and figure."""
    selected = [record for record in records if record.kind in ("similarity", "distance")]
    groups = _grouped(selected, lambda r: (r.method, r.subject, r.metric))
    for key, figures in PAPER_1.items():
        for figure in figures:
            groups.setdefault((*key, figure), [])
    rows = []
    for system, region, figure in sorted(groups, key=lambda k: (_rank(k[0]), _place(k[1], REGIONS))):
        found = groups[system, region, figure]
        floors = shown_spread([record.floor for record in found if record.floor is not None])
        paper = PAPER_1.get((system, region), {}).get(figure, NONE)
        shown = (shown_value(found), shown_interval(found), floors, shown_count(found), paper)
        rows.append((system_name(system), region, figure, *shown))
    columns = ("system", "region", "figure", "ours", "95 %", "real against real", "n", "paper")
    notes = [
        MEANS,
        "PSNR and SSIM are of real test masks only (A39); SSIM has the Gaussian 11x11 window unless named otherwise.",
        "A distance is called FID only on pytorch-fid's Inception, else after its network (FD-...): only FID may be "
        "compared with the paper's.",
        "The paper does not define its masked region; ours are the lungs with their nodules (A43).",
        DASH,
        *_reasons(selected),
    ]
    return Table("table1", "Table 1. Image quality", columns, rows, notes)


def _table2(records: Sequence[Record]) -> Table:
    """Detection by system, each with its largest number of synthetic images."""
    selected = _detection(records)
    groups = _grouped(selected, lambda r: (r.method, r.details["system"], r.subject))
    rows = []
    for detector, system in sorted({key[:2] for key in groups}, key=lambda k: (k[0], _rank(k[1]))):
        subjects = [key[2] for key in groups if key[:2] == (detector, system)]
        for subject in subjects if system == "real" else [max(subjects, key=_added)]:
            found = groups[detector, system, subject]
            scores = [shown_value(_of(found, figure)) for figure in DETECTION]
            more = (shown_difference(_of(found, "mAP50" + MINUS_REAL)), _folds(found), shown_count(_of(found, "mAP50")))
            rows.append((detector, system_name(system), subject, *scores, *more, *_paper2(system, subject)))
    for system in sorted(PAPER_2.keys() - {key[1] for key in groups}, key=_rank):
        absent = (NONE,) * (len(DETECTION) + 3)
        rows.append((NONE, system_name(system), NONE, *absent, *_paper2(system, "real")))
    columns = ("detector", "system", "trained on", *DETECTION, f"mAP50{MINUS_REAL}", "folds", "objects")
    paper = ("paper: precision", "paper: recall", "paper: mAP")
    notes = [MEANS, DIFFERENCES, PAPER_MAP, *_detector_notes(selected), DASH, *_reasons(selected)]
    return Table("table2", "Table 2. Detection by system", (*columns, *paper), rows, notes)


def _table3(records: Sequence[Record]) -> Table:
    """Detection by the number of synthetic images added, with the controls."""
    selected = _detection(records)
    groups = _grouped(selected, lambda r: (r.method, r.details["system"], r.subject))
    rows = []
    for detector, system, subject in sorted(groups, key=lambda k: (k[0], _added(k[2]), _rank(k[1]), k[2])):
        found = groups[detector, system, subject]
        ratios = [r.details["synthetic_images"] / r.details["real_images"] for r in found if "real_images" in r.details]
        row = [detector, system_name(system), subject, f"{mean(ratios):.2f}" if ratios else NONE]
        row += [shown_value(_of(found, figure)) for figure in DETECTION]
        row += [shown_difference(_of(found, figure + MINUS_REAL)) for figure in DETECTION]
        for figure in ("mAP50", "mAP50-95"):
            with_value = [r for r in _of(found, figure) if r.value is not None]
            row.append(shown_spread([r.details["pycocotools"] for r in with_value]))
        starts = sorted({r.details["start"] for r in found if "start" in r.details})
        rows.append((*row, "; ".join(starts) or NONE, _folds(found), shown_count(_of(found, "mAP50")), NONE))
    columns = (
        *("detector", "system", "trained on", "synthetic : real", *DETECTION),
        *(f"{figure}{MINUS_REAL}" for figure in DETECTION),
        *("mAP50, pycocotools", "mAP50-95, pycocotools", "starts from", "folds", "objects", "paper"),
    )
    notes = [
        MEANS,
        DIFFERENCES,
        "real, augmented: flips, shifts, scales, brightness and mosaics; the images of other sets are not changed. "
        "real, repeated: real images repeated until an epoch is as long as with the most synthetic ones.",
        "The paper's spread over folds is 0.007 to 0.035; its single cells are not published.",
        *_detector_notes(selected),
        DASH,
        *_reasons(selected),
    ]
    return Table("table3", "Table 3. Detection by synthetic images added", columns, rows, notes)


def _table4(records: Sequence[Record]) -> Table:
    """The ablation: one row per system and figure."""
    selected = [r for r in records if r.kind in ("similarity", "distance") and r.subject == "full"]
    groups = _grouped(selected, lambda r: (r.method, r.metric))
    detected = _grouped(_detection(records), lambda r: (r.details["system"], r.method, r.subject))
    for system, figures in PAPER_4.items():
        for figure in figures.keys() - {"mAP"}:
            groups.setdefault((system, figure), [])
    rows = []
    for system in ABLATION:
        name, paper = system_name(system), PAPER_4.get(system, {})
        for _, figure in sorted(key for key in groups if key[0] == system):
            found = groups[system, figure]
            ours = (shown_value(found), shown_interval(found), shown_count(found))
            rows.append((name, figure, *ours, paper.get(figure, NONE)))
        cells = [key[1:] for key in detected if key[0] == system]
        for detector in sorted({detector for detector, _ in cells}):
            subject = max((subject for one, subject in cells if one == detector), key=_added)
            found = _of(detected[system, detector, subject], "mAP50")
            ours = (shown_value(found), NONE, shown_count(found))
            rows.append((name, f"mAP50, {detector} on {subject}", *ours, paper.get("mAP", NONE)))
        if not cells and "mAP" in paper:
            rows.append((name, "mAP50", NONE, NONE, NONE, paper["mAP"]))
    notes = [
        MEANS,
        "The paper's Tables 1 and 4 differ for the same system (FID 58.077 and 32.187, PSNR 20.692 and 15.571): other "
        "protocols or runs (A37). Its full model is best in none of the known columns of Table 4 (A38).",
        "Real masks: masks of the training slices instead of StyleGAN's, so that only the CT is new. The paper "
        "does not say which of the two kinds its cells belong to; they are in the rows of StyleGAN's masks.",
        *([_DEFORMED] if any(system.endswith(DEFORMED_MASKS) for system, *_ in [*groups, *detected]) else []),
        PAPER_MAP,
        DASH,
        *_reasons(selected),
    ]
    return Table("table4", "Table 4. Ablation", ("system", "figure", "ours", "95 %", "n", "paper"), rows, notes)


def _detection(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.kind == "detection" and "system" in record.details]


def _grouped(records: Iterable[Record], key: Callable[[Record], K]) -> dict[K, list[Record]]:
    groups: dict[K, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups


def _of(records: Iterable[Record], metric: str) -> list[Record]:
    return [record for record in records if record.metric == metric]


def _paper2(system: str, subject: str) -> tuple[str, ...]:
    """The paper's row; only for real images and the systems' sets, not for the controls."""
    known = PAPER_2.get(system, {}) if "," not in subject else {}
    return tuple(known.get(figure, NONE) for figure in ("precision", "recall", "mAP"))


def _folds(records: Iterable[Record]) -> str:
    return ", ".join(sorted({str(r.fold) for r in records if r.fold is not None and r.value is not None})) or NONE


def _added(subject: str) -> int:
    """Synthetic images in a training set; the controls come after all of them."""
    number = subject.removeprefix("real+")
    return int(number) if number.isdecimal() else 0 if subject == "real" else 10**9


def system_name(system: str) -> str:
    """A system's display name: TSGAN is DL-Pix2Pix on masks of stage 1."""
    if system == "dl_pix2pix":
        return f"TSGAN ({SYSTEMS[system]})"
    method, masks = _parted(system)
    return SYSTEMS.get(method, method) + (f", {masks.strip(' ()')}" if masks else "")


def _rank(system: str) -> tuple[int, tuple[int, str]]:
    method, masks = _parted(system)
    return list(MASKS_OF.values()).index(masks), _place(method, list(SYSTEMS))


def _parted(system: str) -> tuple[str, str]:
    """(method, ending of `MASKS_OF`)"""
    masks = next((ending for ending in MASKS_OF.values() if ending and system.endswith(ending)), "")
    return system.removesuffix(masks), masks


def _place(name: str, known: Sequence[str]) -> tuple[int, str]:
    return (known.index(name) if name in known else len(known), name)


def _detector_notes(records: Iterable[Record]) -> list[str]:
    keys = ("detector_note", "too_small", "too_few")
    return sorted({str(r.details[key]) for r in records for key in keys if key in r.details})


def _reasons(records: Iterable[Record]) -> list[str]:
    """The reasons for missing figures, grouped."""
    groups = _grouped((r for r in records if r.value is None), lambda r: (r.method, r.subject, r.fold, r.reason))
    return [
        f"none: {method}, {subject}{'' if fold is None else f', fold {fold}'}: "
        f"{', '.join(dict.fromkeys(record.metric for record in found))}: {' '.join(str(reason).split())}"
        for (method, subject, fold, reason), found in groups.items()
    ]
