"""Tables come from records alone, show folds, differences and reasons, and say what the paper reports beside."""

import csv
import io

import pytest

from tsgan_jax.evaluation.records import DETECTION, Record
from tsgan_jax.evaluation.table import Table
from tsgan_jax.evaluation.tables import tables


def detected(subject, value, fold=0, system=None, detector="YOLOv8n", **details):
    """Four figures of one detector, each with pycocotools' beside it."""
    system = system or ("dl_pix2pix" if subject.startswith("real+") else "real")
    about = {"system": system, "real_images": 100, "synthetic_images": 50, "start": "random weights", **details}
    return [
        Record("detection", detector, subject, figure, value, 30, fold=fold, details={**about, "pycocotools": value})
        for figure in DETECTION
    ]


def difference(subject, value, error, fold=0, interval=(-0.1, 0.3)):
    details = {"system": "dl_pix2pix", "error": error}
    return Record(
        "detection", "YOLOv8n", subject, "mAP50 - real", value, 30, interval=interval, fold=fold, details=details
    )


def rows(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def one(table: Table, **wanted: str) -> dict[str, str]:
    found = [row for row in rows(table) if all(row[key] == value for key, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def test_without_records_the_papers_figures_stand_alone():
    first, second, third, fourth = tables([])
    assert [table.name for table in (first, second, third, fourth)] == ["table1", "table2", "table3", "table4"]
    fid = one(first, system="TSGAN (DL-Pix2Pix)", region="full", figure="FID")
    assert (fid["ours"], fid["paper"]) == ("–", "58.077")
    assert one(second, system="GauGAN")["paper: recall"] == "0.788"
    assert one(fourth, system="Pix2Pix + DWMH", figure="mAP50")["paper"] == "0.800"
    assert rows(third) == []


def test_the_diffusion_model_is_not_shown_as_controlnet_nor_beside_its_figures():
    records = [Record("distance", "controlnet_style", "full", "FID", 70.0, 238, fold=0)]
    records += detected("real+50", 0.3, system="controlnet_style")
    first, second = tables(records)[:2]
    name = "ControlNet-style, no Stable Diffusion prior"
    ours, theirs = (one(first, system=system, region="full", figure="FID") for system in (name, "ControlNet"))
    assert (ours["ours"], ours["paper"]) == ("70.000", "–")
    assert (theirs["ours"], theirs["paper"]) == ("–", "about 40")
    assert one(second, system=name)["paper: recall"] == "–" and one(second, system="ControlNet")["mAP50"] == "–"


def test_every_system_has_its_name_and_place_on_other_masks_too():
    ids = ["mine", "dl_pix2pix (real masks)", "cyclegan (real masks)", "dl_pix2pix", "gaugan", "mine (real masks)"]
    ids.append("gaugan (deformed masks)")
    records = [Record("distance", system, "nodules", "FID", 70.0, 238, fold=0) for system in ids]
    assert [row["system"] for row in rows(tables(records)[0]) if row["region"] == "nodules"] == [
        *("GauGAN", "TSGAN (DL-Pix2Pix)", "mine", "GauGAN, deformed masks"),
        *("CycleGAN, real masks", "DL-Pix2Pix, real masks", "mine, real masks"),
    ]


def test_image_quality_stands_beside_the_papers():
    records = [
        Record("similarity", "dl_pix2pix", "full", "PSNR", 20.5, 238, interval=(20.1, 20.9), floor=30.0, fold=0),
        Record("distance", "dl_pix2pix", "full", "FD-VGG19 relu3_4", 5.25, 238, fold=0),
        Record("distance", "dl_pix2pix", "lungs", "FID", None, 0, fold=0, reason="no weights\nare given"),
    ]
    table = tables(records)[0]
    psnr = one(table, system="TSGAN (DL-Pix2Pix)", region="full", figure="PSNR")
    assert (psnr["ours"], psnr["95 %"], psnr["real against real"], psnr["n"], psnr["paper"]) == (
        "20.500",
        "20.100 to 20.900",
        "30.000",
        "238",
        "20.692",
    )
    assert one(table, region="full", figure="FD-VGG19 relu3_4")["paper"] == "–"  # never beside an FID
    assert one(table, system="TSGAN (DL-Pix2Pix)", region="lungs", figure="FID")["ours"] == "none"
    assert any("FID: no weights are given" in note for note in table.notes)


def test_folds_become_mean_and_spread_and_differences_keep_an_interval():
    records = [*detected("real", 0.2), *detected("real+50", 0.3), difference("real+50", 0.1, 0.03)]
    alone = one(tables(records)[2], **{"trained on": "real+50"})
    assert alone["mAP50"] == "0.300" and alone["mAP50 - real"] == "+0.100 [-0.100, +0.300]"
    assert (alone["synthetic : real"], alone["mAP50, pycocotools"], alone["starts from"]) == (
        "0.50",
        "0.300",
        "random weights",
    )
    records += [*detected("real+50", 0.4, fold=1), difference("real+50", 0.3, 0.04, fold=1)]
    both = one(tables(records)[2], **{"trained on": "real+50"})
    assert both["mAP50"] == "0.350 ± 0.071" and both["folds"] == "0, 1" and both["objects"] == "60"
    assert both["mAP50 - real"] == "+0.200 [+0.151, +0.249]"  # 1.96 * sqrt(.03^2 + .04^2) / 2


def test_schedule_is_in_order_and_controls_follow():
    subjects = ["real, repeated", "real+1000", "real", "real+500", "real, augmented"]
    records = [record for subject in subjects for record in detected(subject, 0.2)]
    assert [row["trained on"] for row in rows(tables(records)[2])] == [
        "real",
        "real+500",
        "real+1000",
        "real, augmented",
        "real, repeated",
    ]


def test_systems_are_compared_at_their_most_synthetic_images():
    records = [
        *detected("real", 0.2),
        *detected("real+500", 0.3),
        *detected("real+1000", 0.25),
        *detected("real+1000", 0.28, system="pix2pix"),
    ]
    table = tables(records)[1]
    ours = one(table, detector="YOLOv8n", system="TSGAN (DL-Pix2Pix)")
    assert (ours["trained on"], ours["mAP50"], ours["paper: mAP"]) == ("real+1000", "0.250", "0.792")
    assert one(table, detector="YOLOv8n", system="Pix2Pix")["mAP50"] == "0.280"
    assert one(table, detector="YOLOv8n", system="real images only")["paper: precision"] == "0.791"


def test_controls_have_no_figure_of_the_papers():
    table = tables([*detected("real", 0.2), *detected("real, augmented", 0.3)])[1]
    assert one(table, **{"trained on": "real, augmented"})["paper: precision"] == "–"


def test_missing_cells_cautions_and_anchor_free_yolo_are_told():
    absent = [
        Record(
            "detection",
            "YOLOv5nu",
            "real+500",
            f,
            None,
            0,
            fold=0,
            reason="24 of 500",
            details={"system": "dl_pix2pix"},
        )
        for f in DETECTION
    ]
    small = detected(
        "real", 0.1, detector="YOLOv5nu", detector_note="YOLOv5u is anchor-free", too_small="objects too small"
    )
    table = tables([*small, *absent])[2]
    assert one(table, **{"trained on": "real+500"})["mAP50"] == "none"
    assert {"YOLOv5u is anchor-free", "objects too small"} <= set(table.notes)
    assert any(
        "YOLOv5nu, real+500, fold 0: precision, recall, mAP50, mAP50-95: 24 of 500" in note for note in table.notes
    )


def test_ablation_shows_each_system_with_the_papers_figures():
    records = [
        Record("similarity", "pix2pix", "full", "SSIM", 0.6, 20, fold=0),
        *detected("real+50", 0.3, system="pix2pix+lia"),
    ]
    table = tables(records)[3]
    assert one(table, system="Pix2Pix", figure="SSIM")["ours"] == "0.600"
    assert one(table, system="Pix2Pix + LIA", figure="mAP50, YOLOv8n on real+50")["ours"] == "0.300"
    assert one(table, system="Pix2Pix + LIA", figure="FID")["paper"] == "30.264"


@pytest.mark.parametrize("table", tables(detected("real+50", 0.3)), ids=lambda table: table.name)
def test_three_forms_have_the_same_cells(table):
    markdown = [line for line in table.markdown().splitlines() if line.startswith("|")]
    assert len(markdown) == len(table.rows) + 2
    assert all(line.count("|") == len(table.columns) + 1 for line in markdown)
    body = [line for line in table.latex().splitlines() if line.endswith(r"\\")]
    assert len(body) == len(table.rows) + 1 and all(line.count(" & ") == len(table.columns) - 1 for line in body)


def test_latex_and_markdown_escape_what_means_something_there():
    table = Table("t", "50 % & more", ("a_b",), [("x|y_1 ± 2 – 3%",)], ["note #1"])
    latex = table.latex()
    assert r"\caption{50 \% \& more}" in latex and r"x|y\_1 $\pm$ 2 -- 3\%" in latex and r"note \#1" in latex
    assert r"| x\|y_1 ± 2 – 3% |" in table.markdown()
