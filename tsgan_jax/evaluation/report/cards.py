"""Data card, model card, config and provenance."""

from typing import Any

from tsgan_jax import __version__
from tsgan_jax.config.reading import dump_config
from tsgan_jax.evaluation.report.html import Child, Html, el, facts
from tsgan_jax.evaluation.report.material import Material
from tsgan_jax.evaluation.report.sections import section
from tsgan_jax.evaluation.tables import system_name
from tsgan_jax.files import read_json

USES: tuple[tuple[str, Child], ...] = (
    (
        "Intended use",
        "Research: enlarging training sets of lung-nodule detectors, studying synthesis of labelled CT slices.",
    ),
    (
        "Not for",
        "Diagnosis or any other clinical decision; figures of how well patients' nodules are found; release as "
        "anonymous patient data: the copy audit is evidence, not a guarantee of privacy.",
    ),
    (
        "Limits",
        "Single axial slices without neighbours. One HU window; values outside it are lost. Nodules are what the mask "
        "says: discs in LUNA16's annotations, whose true outlines differ. Generated masks pass a gate, so rare anatomy "
        "and healthy slices are missing. Scanners and patients that are not in the training scans are not in the set.",
    ),
    (
        "How to read the figures",
        "Test scans are few, so intervals are wide: compare a figure with its interval and with the figure of "
        "real against real, not with another paper's number. PSNR and SSIM are of real test masks only. A Fréchet "
        "distance is called FID only on the published Inception weights.",
    ),
)

LICENCES: tuple[tuple[str, Child], ...] = (
    ("tsgan_jax", "Apache-2.0."),
    (
        "ultralytics (YOLO)",
        "AGPL-3.0. It is optional, is installed into a separate environment, and runs as a separate process that "
        "exchanges files with this project; no part of it is in tsgan_jax. Detectors it trains, and services "
        "built on them, come under its licence.",
    ),
    (
        "Weight files",
        "Feature networks (Inception-v3, VGG-19) and detector weights are files of the user; each has the "
        "licence of its source. None is part of tsgan_jax.",
    ),
    (
        "CT data",
        "LUNA16 is drawn from LIDC-IDRI; both have terms of use and ask to be cited. A generated set is derived from "
        "them. The phantom is procedural and shows no patient.",
    ),
)


_MASKS = {
    "stylegan": "StyleGAN masks",
    "deform": "deformed masks of real training slices, with nodules at other places",
    "real": "masks of real training slices",
}


def cards(material: Material) -> Html:
    """Data card and model card."""
    data, model = _data(material), _model(material)
    return section(
        "cards",
        "Data card and model card",
        el("h3", "Data"),
        facts(data),
        el("h3", "Model"),
        facts([*model, *USES]),
        el("h3", "Licences"),
        facts(LICENCES),
    )


def provenance(material: Material) -> Html:
    """The resolved config, versions, hashes."""
    made = material.manifest("sets", "synthetic", "manifest.json")
    versions: dict[str, Any] = {}
    for manifest in (material.manifest("masks", "manifest.json"), material.manifest("translation", "manifest.json")):
        versions |= manifest.get("versions", {})
    rows: list[tuple[str, Child]] = [("tsgan_jax of this report", __version__)]
    if versions:
        rows.append(("Trained with", ", ".join(f"{name} {version}" for name, version in versions.items())))
    for stage, parent in made.get("made_from", {}).get("parents", {}).items():
        rows.append((f"Set made from, {stage}", f"step {parent['step']}, checkpoint {parent['sha256'][:16]}"))
    networks = {
        (r.made_from.get("network"), r.made_from.get("weights"), r.made_from.get("weights_sha256"))
        for r in material.of("distance")
        if r.value is not None
    }
    rows += [("Feature network", f"{name}: {file}, SHA-256 {digest}") for name, file, digest in sorted(networks)]
    text = el("pre", el("code", dump_config(material.config)), tabindex="0")
    return section("config", "Config and provenance", facts(rows), el("details", el("summary", "config.yaml"), text))


def _data(material: Material) -> list[tuple[str, Child]]:
    config = material.config.data
    path = material.run / "evaluation" / "data.json"
    rows: list[tuple[str, Child]] = []
    if path.is_file():
        made = read_json(path)
        source = "procedural chest phantom, no patients" if made["phantom"] else "CT scans in LUNA16's layout"
        rows += [
            ("Source", source),
            ("Scans", f"{made['scans'] - made['refused']} read, {made['refused']} refused with a reason"),
            ("Slices", f"{made['slices']}, one a nodule's centre; in the five folds: {_listed(made['folds'])}"),
            ("Nodules drawn", f"{made['nodules']}, of which {made['subpixel']} are smaller than a pixel"),
            (
                "Lungs",
                f"given with {made['lungs_given']} scans, segmented by this project in {made['lungs_segmented']}",
            ),
        ]
    return [
        *rows,
        ("Split", f"test fold {_listed(config.test_folds)} by whole scans; no network has seen it"),
        ("Resolution", f"{config.resolution} px"),
        ("HU window", f"{config.hu_window[0]:g} to {config.hu_window[1]:g} HU"),
        ("Labels", "background, body, left lung, right lung, trachea, nodule"),
    ]


def _model(material: Material) -> list[tuple[str, Child]]:
    config = material.config
    rows: list[tuple[str, Child]] = [
        ("System", f"{_MASKS[config.generation.masks]}, then {system_name(config.translation.system)}")
    ]
    for stage, title in (("masks", "Stage 1, noise to mask"), ("translation", "Stage 2, mask to CT")):
        manifest = material.manifest(stage, "manifest.json")
        if manifest:
            state = "trained to its end" if manifest.get("finished") else "not trained to its end"
            seen = f"{manifest.get('images_seen', 0):,} images in {manifest.get('steps', 0):,} steps"
            rows.append((title, f"{state}: {seen}, on {manifest.get('slices', '?')} slices"))
    made = material.manifest("sets", "synthetic", "manifest.json")
    if made:
        accepted = sum(bool(image["accepted"]) for image in made.get("images", []))
        rows.append(("Generated set", f"{accepted} slices with {made.get('objects', 0)} nodule boxes"))
    return rows


def _listed(values: "tuple[int, ...] | list[int]") -> str:
    return ", ".join(map(str, values))
