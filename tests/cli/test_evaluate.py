"""bin/evaluate on a run of untrained networks: every part comes out or says why; refusals; exit codes."""

import shutil
from functools import partial

import jax
import numpy as np
import pytest
from trained_run import CONFIG, config_at, make_run

from tsgan_jax.cli.evaluate import main, summary
from tsgan_jax.config.reading import dump_config, load_config
from tsgan_jax.data.luna16 import prepare
from tsgan_jax.data.pipeline import load
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation import evaluate as evaluation
from tsgan_jax.evaluation import mask_table
from tsgan_jax.evaluation.evaluate import attempt
from tsgan_jax.evaluation.records import Record, append, current, read
from tsgan_jax.files import read_json, write_json
from tsgan_jax.generation.generate import export_fold
from tsgan_jax.generation.manifest import write_manifest


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Networks of 16 px, phantom data of that size, and a set: real slices of fold 1 in a generated set's clothes."""
    root = tmp_path_factory.mktemp("evaluated")
    run = root / "tiny"
    make_run(run)
    data = f"data: {{resolution: 16, prepared: {root}/prepared, phantom: {{patients: 24, slices: 1, size: 64}}}}"
    (run / "config.yaml").write_text(CONFIG.replace("data: {resolution: 16}", data))
    config = load_config(run / "config.yaml", ["evaluation.bootstrap=10"])
    (run / "config.yaml").write_text(dump_config(config))
    prepare(config.data, workers=1)
    export_fold(load(config.data, [1]), config.data.hu_window, run / "sets/synthetic", {"pixel_mm": 20.0})
    return run


def records(run) -> list[Record]:
    return current(read(run / "evaluation" / "records.jsonl"))


@pytest.mark.slow
def test_all_parts_and_the_report_whatever_is_missing(run, capsys):
    assert main(["--run", str(run)]) == 3  # no weight file: some figures cannot be had
    printed = capsys.readouterr().out
    found = records(run)
    kinds = {record.kind for record in found}
    assert {"similarity", "distance", "embedding", "masks", "mask sources", "adherence", "copies"} <= kinds
    assert "mask truncation" in kinds
    missing = {record.kind for record in found if record.value is None}
    assert {"distance", "embedding"} <= missing and "similarity" not in missing
    assert all("evaluation.inception_weights is not set" in r.reason for r in found if r.kind == "distance")
    assert "figures are missing" in printed and "report.html" in printed
    page = (run / "report.html").read_text()
    assert "evaluation.inception_weights is not set" in page and page.count("<img") > 10
    copied = next(r for r in found if r.kind == "copies" and r.metric == "share of copies" and r.subject == "ct")
    assert copied.value == 1.0, "fold 1 was trained on: each of its slices is a copy"
    assert "pair flagged" in page


@pytest.mark.slow
def test_one_part_alone_appends_and_the_newest_counts(run):
    before = len(read(run / "evaluation" / "records.jsonl"))
    assert main(["--run", str(run), "--only", "masks"]) in (0, 3)
    everything = read(run / "evaluation" / "records.jsonl")
    new = everything[before:]
    assert {record.kind for record in new} == {"masks", "adherence", "copies"}
    assert len([r for r in records(run) if r.kind == "copies"]) == 4


def test_an_empty_set_is_told_and_figures_that_need_none_come_out(run, tmp_path):
    empty = run / "sets" / "empty"
    empty.mkdir(exist_ok=True)
    made_from = {"kind": "synthetic", "pixel_mm": 20.0}
    write_manifest(empty, {"complete": True, "made_from": made_from, "images": []})
    (empty / "annotations.json").write_text("{}")
    config = load_config(run / "config.yaml")
    made = evaluation.evaluate(run, config, ["masks"], set_name="empty", say=lambda line: None)
    assert [record.kind for record in made] == ["masks", "adherence", "copies"]
    assert all(record.value is None and "the set is empty" in record.reason for record in made)


@pytest.mark.parametrize("folder", ["images", "hu", "masks"])
def test_a_set_whose_files_were_overwritten_is_not_judged(run, folder):
    changed = run / "sets" / f"changed {folder}"
    shutil.copytree(run / "sets/synthetic", changed)
    first, second = sorted((changed / folder).iterdir())[:2]
    first.write_bytes(second.read_bytes())
    said = []
    config = load_config(run / "config.yaml")
    made = evaluation.evaluate(run, config, ["masks"], set_name=changed.name, say=said.append)
    assert all(record.value is None and f"{folder}/{first.name}" in record.reason for record in made)
    assert any(f"{folder}/{first.name} missing or changed since the set was made" in line for line in said)


def test_a_set_whose_annotations_were_changed_is_not_judged(run):
    changed = run / "sets" / "changed boxes"
    shutil.copytree(run / "sets/synthetic", changed)
    with (changed / "annotations.json").open("a") as file:
        file.write(" ")
    config = load_config(run / "config.yaml")
    made = evaluation.evaluate(run, config, ["masks"], set_name=changed.name, say=lambda line: None)
    assert made and all("annotations.json missing or changed since" in record.reason for record in made)


def test_a_coco_set_made_elsewhere(run, tmp_path, capsys):
    """The set's images and boxes alone; they are training slices, so all are copies."""
    made = run / "sets/synthetic"
    shutil.copytree(made / "images", tmp_path / "others/images")
    shutil.copyfile(made / "annotations.json", tmp_path / "coco.json")
    given = ["--images", str(tmp_path / "others/images"), "--annotations", str(tmp_path / "coco.json")]
    out = ["--out", str(tmp_path / "out")]
    assert main([*given, *out, "--config", str(run / "config.yaml"), "evaluation.bootstrap=5"]) == 3  # no weights
    found = current(read(tmp_path / "out/evaluation/records.jsonl"))
    assert {r.method for r in found} == {"others"} and {r.kind for r in found} == {"distance", "boxes", "copies"}
    assert next(r.value for r in found if r.metric == "share of copies") == 1.0
    printed = capsys.readouterr().out
    assert "not to be had without masks" in printed and "inception_weights is not set" in printed
    assert main([*given, *out, "--run", str(run), "evaluation.bootstrap=5"]) == 3
    again = current(read(tmp_path / "out/evaluation/records.jsonl"))
    assert [r.value for r in again] == [r.value for r in found]


def test_readers_are_given_a_page_and_their_answers_are_in_the_report(run, tmp_path, capsys):
    assert main(["--run", str(run), "--only", "readers"]) == 0
    printed = capsys.readouterr().out
    (key_file,) = (run / "evaluation/readers").glob("*.key.json")
    key = read_json(key_file)
    assert f"{key['page']}.html" in printed and "automatic" in printed
    answers = [{"page": key["page"], "reader": name, "answers": key["kinds"]} for name in ("Ada", "Bo <b>")]
    for number, one in enumerate(answers):
        write_json(tmp_path / f"{number}.json", one)
    files = [text for number in range(2) for text in ("--answers", str(tmp_path / f"{number}.json"))]
    assert main(["--run", str(run), *files]) == 0
    found = {r.subject: r for r in records(run) if r.kind == "readers" and r.metric == "accuracy"}
    assert found["reader Ada"].value == 1.0 and found["automatic"].floor is not None
    page = (run / "report.html").read_text()
    assert "reader Ada" in page and "Bo &lt;b&gt;" in page
    capsys.readouterr()
    assert main(["--run", str(run), "--answers", str(key_file)]) == 2
    assert "not a file that a page" in capsys.readouterr().err


@pytest.mark.slow
def test_masks_of_stage_1_need_no_stage_2_and_no_set(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(mask_table, "MEASURED", 8)
    monkeypatch.setattr(mask_table, "SWEPT", 6)
    alone = tmp_path / "alone"
    shutil.copytree(run, alone, ignore=shutil.ignore_patterns("translation", "sets", "evaluation"))
    assert main(["--run", str(alone), "--only", "mask_sources", "--only", "report"]) in (0, 3)
    found = records(alone)
    assert {record.kind for record in found} == {"mask sources", "mask truncation"}
    shares = {r.subject: r for r in found if r.metric == "passes the gate"}
    assert shares["stage 1"].n == 8 and shares["stage 1"].details["pixel_mm_of_all"] == 2.5
    assert shares["psi 0.6"].n == 6 and shares["psi 1.0"].made_from["masks"]["step"] == 4
    printed = capsys.readouterr().out
    assert "Masks by their source, before the gate" in printed and "psi 0.9" in printed
    assert {path.name for path in alone.iterdir()} == {"config.yaml", "evaluation", "masks", "report.html"}
    assert "Masks by their source" in (alone / "report.html").read_text()


def test_masks_that_stage_1_does_not_draw_are_not_compared(run):
    config, said = load_config(run / "config.yaml", ["generation.masks=deform"]), []
    assert evaluation.evaluate(run, config, ["mask_sources"], say=said.append) == []
    assert said == ["masks by their source: skipped, because this run does not use stage 1"]


def test_detectors_are_asked_for_only_with_a_section_for_them(run):
    asked = []

    def detect(run, config, say, synthetic):
        asked.append((config.detection, synthetic))
        return [Record("detection", "YOLOv8n", "real", "mAP50", 0.5, 9, fold=0)]

    config = load_config(run / "config.yaml")
    assert evaluation.evaluate(run, config, ["detection"], say=lambda line: None, detect=detect) == []
    with_section = load_config(run / "config.yaml", ["detection.epochs=1"])
    shutil.copytree(run / "sets/synthetic", run / "sets/other", dirs_exist_ok=True)
    made = evaluation.evaluate(run, with_section, ["detection"], set_name="other", say=lambda line: None, detect=detect)
    assert [record.value for record in made] == [0.5]
    assert asked == [(with_section.detection, run / "sets" / "other")]


def failing(error):
    def step():
        raise error

    return step


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UserError("no file"), "no file"),
        (OSError("no disk"), "OSError: no disk"),
        (np.linalg.LinAlgError("singular"), "LinAlgError: singular"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GB"), "the device has not enough memory: RES"),
    ],
)
def test_a_failing_step_becomes_a_record_with_its_reason(error, reason):
    said = []
    (record,) = attempt(partial(Record, "copies", "ours"), failing(error), said.append)
    assert record.value is None and record.reason.startswith(reason) and reason in said[0]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyError("x"), jax.errors.JaxRuntimeError("INTERNAL")])
def test_a_defect_of_ours_is_not_a_figure_that_could_not_be_had(error):
    with pytest.raises(type(error)):
        attempt(partial(Record, "copies", "ours"), failing(error), print)


def test_a_failure_is_forgotten_once_its_kind_comes_out():
    failed = Record("distance", "ours", "full", "FD-VGG19", None, 0, reason="no file", details={"evaluated": "1"})
    fine = Record("distance", "ours", "full", "FID", 30.0, 99, details={"evaluated": "2"})
    too_few = Record("distance", "ours", "nodules", "FID", None, 1, reason="too few", details={"evaluated": "2"})
    assert current([failed]) == [failed]
    assert current([failed, fine, too_few]) == [fine, too_few]


def test_the_summary_names_every_figure():
    lines = summary(
        [
            Record("similarity", "ours", "full", "PSNR", 20.5, 9, (20.0, 21.0), 11.0),
            Record("distance", "ours", "full", "FID", None, 0, reason="no weights"),
        ]
    )
    assert "20.5" in lines[0] and "[20, 21]" in lines[0] and "real 11" in lines[0] and "n 9" in lines[0]
    assert "by their source" not in "".join(lines)
    assert lines[1].endswith("none: no weights") and lines[2] == "1 of 2 figures are missing"


def test_tables_are_rebuilt_from_records_alone(tmp_path, capsys):
    run = tmp_path / "run"
    config_at(run)
    assert main(["--run", str(run), "--tables"]) == 2
    assert "has no record" in capsys.readouterr().err
    append(run / "evaluation" / "records.jsonl", [Record("similarity", "pix2pix", "full", "PSNR", 20.5, 9)])
    assert main(["--run", str(run), "--tables"]) == 0
    assert "Table 1" in capsys.readouterr().out
    written = {path.name for path in (run / "evaluation" / "tables").iterdir()}
    assert written == {f"table{k}.{suffix}" for k in (1, 2, 3, 4) for suffix in ("md", "csv", "tex")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "{tmp}/nowhere"], "not a run directory"),
        ([], "give --run DIR"),
        (["--images", "{tmp}"], "needs --images DIR, --annotations FILE, and for the real slices"),
        (["--images", "{tmp}", "--annotations", "x"], "--config or --run"),
        (["--images", "{tmp}", "--annotations", "x", "--run", "{run}", "--set", "a"], "do not go with --images"),
        (["--images", "{tmp}/no", "--annotations", "x", "--run", "{run}"], "/no: not a folder"),
        (["--images", "{tmp}", "--annotations", "{tmp}/x", "--run", "{run}"], "/x: cannot be read as JSON"),
        (["--run", "{run}", "--out", "{tmp}"], "--config and --out go with --images"),
        (["--run", "{run}", "masks.z_dim=3"], "a run is evaluated as it was trained"),
        (["--run", "{run}", "evaluation.features=resnet"], "evaluation.features"),
        (["--run", "{run}", "evaluation.colour=3"], "unknown key"),
        (["--run", "{run}", "--set", "TYPO"], "holds no set 'TYPO'; there are: "),
        (["--run", "{run}", "--set", "TYPO", "--only", "mask_sources"], "synthetic; bin/generate makes"),
        (["--run", "{run}", "--set", "../sets/synthetic"], "holds no set '../sets/synthetic'"),
    ],
)
def test_mistakes_are_refused(run, tmp_path, capsys, arguments, message):
    assert main([one.format(run=run, tmp=tmp_path) for one in arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (run / "sets" / "TYPO").exists()
