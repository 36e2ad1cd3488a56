"""The directory of a set of labelled slices: what is in it, its manifest, and whether its files are as written.

    images/           8-bit PNG in the HU window, for detectors
    hu/               16-bit PNG of HU + 1024
    masks/            8-bit PNG of class codes
    colour/           the masks in colours, for the eye
    manifest.jsonl    a line of the set's provenance, then a record per image
    sheet.png         up to 48 slices with outlines; index.html has all
    annotations.json  COCO; written last, so a set that has it is finished
    yolo/ ...         further formats, made from the above (formats.py)

annotations.json is the only *.json, because converters read every one that they find.  Sets of before had
`manifest.json` and indexed masks; they are read and continued.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tsgan_jax.config.reading import config_hash
from tsgan_jax.errors import UserError
from tsgan_jax.files import SEAL, file_sha256, read_json, safe_name, seal_of, write_bytes

IMAGES, HU, MASKS, COLOUR = FOLDERS = ("images", "hu", "masks", "colour")
MANIFEST, ANNOTATIONS = "manifest.jsonl", "annotations.json"
EARLIER_MANIFEST = "manifest.json"
SHEET, INDEX = PAGES = ("sheet.png", "index.html")
NAMED = 5  # changed files that a refusal names

Record = dict[str, Any]


def manifest_path(out: Path) -> Path | None:
    """The manifest of a set; None if it has none."""
    return next((out / name for name in (MANIFEST, EARLIER_MANIFEST) if (out / name).is_file()), None)


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of a set, with the records of its images as `images`.

    Raises UserError for one that is missing, damaged, or not a set's.
    """
    path = manifest_path(out)
    if path is None:
        raise UserError(f"{out}: not a set (it has no {MANIFEST}); bin/generate makes one")
    if path.name == EARLIER_MANIFEST:
        manifest = read_json(path)
        if isinstance(manifest, dict):
            manifest.setdefault("images", [])
    else:
        try:
            manifest, *records = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from None
        if isinstance(manifest, dict):
            manifest["images"] = records
            if SEAL in manifest and manifest.pop(SEAL) != seal_of(manifest):
                raise UserError(f"{path}: changed since it was written; remove the set's folder and make it again")
    if not _is_sets(manifest):
        raise UserError(f"{path}: is not the manifest of a set; choose another directory")
    if bad := [number for number, record in enumerate(manifest["images"]) if not is_record(record)]:
        raise UserError(f"{path}: record {bad[0]} is not of an image; remove the set's folder and make it again")
    return manifest


def _is_sets(manifest: Any) -> bool:
    """Whether a JSON value has what the manifest of a set has, whatever its images' records are."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("made_from"), dict):
        return False
    formats = manifest.get("formats", {})
    return (
        isinstance(manifest["images"], list)
        and isinstance(manifest.get("versions", []), list)
        and isinstance(manifest.get("pages", {}), dict)
        and isinstance(formats, dict)
        and all(
            name.isalpha() and isinstance(one, dict) and {"of", "sha256"} <= one.keys() for name, one in formats.items()
        )
    )


def is_record(record: Any) -> bool:
    """Whether a JSON value is what a set notes of an image."""
    if not isinstance(record, dict) or not isinstance(record.get("index"), int):
        return False
    if record.get("accepted") is not True:
        return record.get("accepted") is False
    sums, pixel = record.get("sha256"), record.get("pixel_mm")
    known = isinstance(sums, dict) and {*FOLDERS[:3]} <= sums.keys() <= {*FOLDERS}
    return known and isinstance(record.get("file_name"), str) and isinstance(pixel, int | float) and 0 < pixel < 1e3


def set_hash(manifest: dict[str, Any]) -> str:
    """Hash of what a set is: its origin and its images' records, which have the hash of every file of an image."""
    return config_hash(manifest["made_from"], manifest["images"])


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest: a line of facts, then a line for each of `images`."""
    facts = {key: value for key, value in manifest.items() if key != "images"}
    lines = [{**facts, SEAL: seal_of(manifest)}, *manifest["images"]]
    write_bytes(out / MANIFEST, "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode())
    (out / EARLIER_MANIFEST).unlink(missing_ok=True)


def refuse_changed(out: Path, manifest: dict[str, Any]) -> None:
    """Raise UserError, which names the files, where a finished set is not as its manifest says it was written."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda record: list(changed_files(out, record)), accepted(manifest["images"]))
        changed = [name for names in found for name in names]
    changed += changed_others(out, manifest)
    if changed:
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        raise UserError(
            f"{out}: {', '.join(changed[:NAMED])}{more} missing or changed since the set was made; run bin/generate "
            "again with the same --out to mend it"
        )


def changed_files(out: Path, record: Record) -> Iterator[str]:
    """The files of an accepted image that are missing, or have another content than its record says."""
    name = safe_name(record["file_name"], f"{manifest_path(out)}: file_name")
    for folder in FOLDERS if COLOUR in record["sha256"] else FOLDERS[:3]:  # sets of before have no colours
        path = out / folder / name
        if not path.is_file() or file_sha256(path) != record["sha256"][folder]:
            yield f"{folder}/{name}"


def changed_others(out: Path, manifest: dict[str, Any]) -> list[str]:
    """The other files of a set, of those that its manifest has hashes of, that are missing or changed."""
    pages = manifest.get("pages", {})
    sums = {ANNOTATIONS: manifest.get("annotations_sha256"), **{name: pages.get(name) for name in PAGES}}
    return [
        name
        for name, expected in sums.items()
        if expected and (not (out / name).is_file() or file_sha256(out / name) != expected)
    ]


def accepted(records: list[Record]) -> list[Record]:
    """The records of images that are in the set."""
    return [record for record in records if record["accepted"]]
