"""Training learns, and goes on after an interruption as if there had been none."""

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors.torch import save_file as torch_save_file

from photoz.small import RECIPE, TINY
from skyfan.errors import InputError, ModelError, SurveyError
from skyfan.photoz import checkpoint as checkpoints
from skyfan.photoz import train as training
from skyfan.photoz.calibration import calibrate
from skyfan.photoz.checkpoint import Recipe
from skyfan.photoz.dataset import open_survey, split
from skyfan.photoz.network import NetworkConfig
from skyfan.photoz.train import train


def tensors(path):
    loaded = checkpoints.load(path)
    groups = ("network", "average", "moments", "calibration")
    return {f"{group}.{name}": tensor for group in groups for name, tensor in vars(loaded)[group].items()}


def test_loss_falls_and_redshifts_come_out(trained):
    record = checkpoints.load(trained).record
    losses = [entry["loss"] for entry in record.history]
    assert len(losses) == 3
    assert losses[-1] < losses[0] - 0.3
    assert record.history[-1]["sigma_nmad"] < 0.05
    assert record.step == 3 * (record.training_rows // 64)


def test_record_is_beside_it_for_people(trained):
    beside = trained.with_name("tiny.safetensors.json")
    assert set(trained.parent.iterdir()) == {trained, beside}
    record = json.loads(beside.read_text())
    assert record["survey_name"] == "skyfan-sim-2"
    assert record["config"]["width"] == 16
    assert record["seed"] == 5


def test_interrupted_training_goes_on_bit_for_bit(survey_file, trained, tmp_path):
    out = tmp_path / "tiny.safetensors"

    def interrupt(progress):
        if progress.validation:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(survey_file, out, config=TINY, epochs=3, seed=5, recipe=RECIPE, resume=True, progress=interrupt)
    train(survey_file, out, resume=True)
    whole, pieces = tensors(trained), tensors(out)
    assert whole.keys() == pieces.keys()
    assert all(torch.equal(whole[name], pieces[name]) for name in whole)


def test_finished_training_has_nothing_left_to_do(survey_file, trained):
    before, record = tensors(trained), checkpoints.load(trained).record
    reports = []
    train(survey_file, trained, resume=True, progress=reports.append)
    assert reports == []
    assert checkpoints.load(trained).record == record
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(trained).items())


def test_training_ends_with_a_calibration(survey_file, trained, tmp_path):
    loaded, data = checkpoints.load(trained), open_survey(survey_file, TINY)
    found = calibrate(loaded.averaged_network(), TINY, data, split(data.object_id)).tensors()
    assert loaded.calibration.keys() == found.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(loaded.calibration[name], tensor)


def forget(tensors):
    for name in [name for name in tensors if name.startswith("calibration/")]:
        del tensors[name]


def break_calibration(tensors):
    tensors["calibration/temperature"] = torch.tensor(-1.0)
    del tensors["calibration/cdf"]


@pytest.mark.parametrize("spoil", [forget, break_calibration])
def test_finished_training_is_calibrated_again(survey_file, trained, tmp_path, spoil):
    def older(record):
        del record["training_ids_sha256"]

    out = changed(trained, tmp_path / "x.safetensors", tensors=spoil, record=older)
    assert "cdf" not in checkpoints.load(out).calibration
    reports = []
    train(survey_file, out, resume=True, progress=reports.append)
    assert reports == []
    whole, again = tensors(trained), tensors(out)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert checkpoints.load(out).record == checkpoints.load(trained).record


def test_more_epochs_calibrate_anew(survey_file, trained, tmp_path):
    out = tmp_path / "x.safetensors"
    out.write_bytes(trained.read_bytes())

    def interrupt(progress):
        if progress.validation:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(survey_file, out, epochs=5, resume=True, progress=interrupt)
    assert checkpoints.load(out).calibration == {}
    train(survey_file, out, resume=True)
    assert not torch.equal(
        checkpoints.load(out).calibration["whitening"], checkpoints.load(trained).calibration["whitening"]
    )


def test_too_few_validation_rows_give_no_calibration(survey, tmp_path):
    few, out = tmp_path / "few.safetensors", tmp_path / "x.safetensors"
    save_file({name: np.ascontiguousarray(values[:200]) for name, values in survey.items()}, few)
    train(few, out, config=TINY, epochs=1, recipe=RECIPE)
    assert checkpoints.load(out).calibration == {}
    train(few, out, resume=True)
    assert checkpoints.load(out).calibration == {}


def test_minutes_end_a_training(survey_file, tmp_path):
    reports = []
    train(
        survey_file,
        tmp_path / "tiny.safetensors",
        config=TINY,
        minutes=0.002,
        recipe=RECIPE,
        progress=reports.append,
    )
    assert reports[-1].share_done == 1.0
    assert reports[-1].validation is not None


def test_time_that_runs_out_within_a_step_loses_nothing(survey_file, monkeypatch, tmp_path):
    """Every look at the clock takes a second: the limit may pass between any two."""
    for minutes in (2.5 / 60, 3.0 / 60, 3.5 / 60, 4.0 / 60):
        ticks = itertools.count()
        monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda ticks=ticks: float(next(ticks))))
        out, reports = tmp_path / f"{minutes}.safetensors", []
        train(survey_file, out, config=TINY, minutes=minutes, recipe=RECIPE, progress=reports.append)
        assert reports[-1].validation is not None
        assert checkpoints.load(out).record.history[-1]["step"] == checkpoints.load(out).record.step


def test_checkpoint_that_exists_is_not_replaced_unasked(survey_file, trained, tmp_path):
    out = tmp_path / "x.safetensors"
    out.write_bytes(trained.read_bytes())
    with pytest.raises(ModelError, match=r"x.safetensors exists; .* go on with it with --resume .* with --overwrite"):
        train(survey_file, out, config=TINY)
    with pytest.raises(InputError, match="resume and overwrite are both asked for"):
        train(survey_file, out, resume=True, overwrite=True)
    assert out.read_bytes() == trained.read_bytes()
    train(survey_file, out, config=TINY, epochs=0.1, seed=6, recipe=RECIPE, overwrite=True)
    assert checkpoints.load(out).record.seed == 6


def test_resume_refuses_another_network_seed_or_survey(survey_file, survey, trained, tmp_path):
    with pytest.raises(ModelError, match="started with size"):
        train(survey_file, trained, config=NetworkConfig(), resume=True)
    with pytest.raises(ModelError, match="started with seed 5, but 6"):
        train(survey_file, trained, seed=6, resume=True)
    shorter = tmp_path / "shorter.safetensors"
    save_file({name: values[:500] for name, values in survey.items()}, shorter)
    with pytest.raises(SurveyError, match=r"rows to train with \d+, expected \d+ - resume with survey.safetensors"):
        train(shorter, trained, resume=True)
    other = tmp_path / "other.safetensors"
    save_file(survey, other, metadata={"survey": "skyfan-sim-1"})
    with pytest.raises(SurveyError, match="survey name skyfan-sim-1, expected skyfan-sim-2"):
        train(other, trained, resume=True)
    save_file({**survey, "object_id": other_objects_of_the_same_split(survey["object_id"])}, other)
    with pytest.raises(SurveyError, match="object_id others, expected the same objects"):
        train(other, trained, resume=True)


def other_objects_of_the_same_split(object_id):
    """Put another object into the place of a training object."""
    candidates = np.arange(1, 100)
    changed = object_id.copy()
    changed[split(object_id).train[0]] = candidates[split(candidates).train[0]]
    assert split(changed).train.tolist() == split(object_id).train.tolist()
    return changed


def test_the_same_survey_in_another_file_is_gone_on_with(survey_file, survey, trained, tmp_path):
    out, moved = tmp_path / "x.safetensors", tmp_path / "moved.safetensors"
    out.write_bytes(trained.read_bytes())
    save_file(survey, moved)  # without a name of its own
    train(moved, out, resume=True)
    assert checkpoints.load(out).record == checkpoints.load(trained).record


def test_unusable_arguments_are_refused(survey_file, survey, tmp_path):
    out = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="epochs is 0"):
        train(survey_file, out, epochs=0)
    with pytest.raises(InputError, match="minutes is -1"):
        train(survey_file, out, minutes=-1)
    for seed in (-1, 2**30, 1.0, True):
        with pytest.raises(InputError, match=f"seed is {seed}, expected a whole number from 0 .* - leave it out"):
            train(survey_file, out, seed=seed)
    with pytest.raises(InputError, match="epochs is inf, expected a finite number above 0"):
        train(survey_file, out, epochs=float("inf"))
    with pytest.raises(InputError, match="in a folder that exists"):
        train(survey_file, tmp_path / "absent" / "x.safetensors")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA here"):
            train(survey_file, out, device="cuda")
    save_file({name: values[:1] for name, values in survey.items()}, tmp_path / "one.safetensors")
    with pytest.raises(SurveyError, match="larger survey"):
        train(tmp_path / "one.safetensors", out)


def test_recipe_suits_the_size(survey_file, tmp_path):
    small, large = Recipe.suited(NetworkConfig.small()), Recipe.suited(NetworkConfig())
    assert small == Recipe()
    assert (large.learning_rate, large.warmup_steps, large.weight_decay) == (6e-4, 500, 0.05)
    out = tmp_path / "x.safetensors"
    train(survey_file, out, config=TINY, epochs=0.1, recipe={"batch_size": 500, "precision": "bfloat16"})
    assert checkpoints.load(out).record.recipe == Recipe(batch_size=500, precision="bfloat16")
    with pytest.raises(ModelError, match=r"started with learning_rate 0.002, but 0.1 .* leave the learning_rate out"):
        train(survey_file, out, resume=True, recipe={"learning_rate": 0.1})


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"batch": 3}, "recipe has no 'batch'; expected one of batch_size"),
        ({"warmup_steps": 0}, "warmup_steps is 0, expected a whole number above 0 - leave it out for its default"),
        ({"warmup_steps": 10.5}, "warmup_steps is 10.5, expected a whole number"),
        ({"batch_size": 64.0}, "batch_size is 64.0, expected a whole number"),
        ({"batch_size": True}, "batch_size is True, expected a whole number"),
        ({"learning_rate": float("inf")}, "learning_rate is inf, expected a finite number above 0"),
        ({"learning_rate": None}, "learning_rate is None, expected a finite number above 0"),
        ({"gradient_norm": 0}, "gradient_norm is 0, expected a finite number above 0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1, expected a finite number, 0 or more"),
        ({"crps_weight": float("nan")}, "crps_weight is nan, expected a finite number, 0 or more"),
        ({"average_decay": 1.0}, "average_decay is 1.0, expected a number from 0 to less than 1"),
        ({"precision": "float16"}, "precision is 'float16', expected one of float32, bfloat16 - leave it out"),
    ],
)
def test_unusable_recipes_are_refused(survey_file, tmp_path, recipe, message):
    with pytest.raises(InputError, match=message):
        train(survey_file, tmp_path / "x.safetensors", recipe=recipe)


def changed(path, out, *, record=lambda record: None, tensors=lambda tensors: None):
    """Write a checkpoint again with another record or other tensors."""
    with safe_open(path, framework="pt") as file:
        metadata, found = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    values = json.loads(metadata["record"])
    record(values)
    tensors(found)
    torch_save_file(found, out, metadata | {"record": json.dumps(values)})
    return out


def test_checkpoint_of_an_older_skyfan_is_read(survey_file, trained, tmp_path):
    def older(record):
        del record["pretraining"], record["recipe"]["precision"], record["training_ids_sha256"]

    out = changed(trained, tmp_path / "old.safetensors", record=older)
    loaded = checkpoints.load(out)
    assert loaded.record == replace(checkpoints.load(trained).record, training_ids_sha256="")
    assert loaded.record.recipe.precision == "float32"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("seed"), "lacks seed in its Record, which this version of skyfan needs"),
        (lambda record: record.update(mood="good"), "has mood in its Record, which this .* does not know - use the"),
        (lambda record: record["recipe"].update(mood="good"), "has mood in its Recipe"),
        (lambda record: record["config"].update(gates=2), "has gates in its NetworkConfig"),
        (lambda record: record["config"].update(width=32), "network/encoder.class_token of shape .*1, 1, 16.* 32"),
    ],
)
def test_record_that_is_not_understood_is_refused(trained, tmp_path, change, message):
    with pytest.raises(ModelError, match=message):
        checkpoints.load(changed(trained, tmp_path / "x.safetensors", record=change))


def test_tensors_of_another_network_are_refused(trained, tmp_path):
    out = tmp_path / "x.safetensors"
    changed(trained, out, tensors=lambda tensors: tensors.pop("average/head.2.bias"))
    with pytest.raises(ModelError, match=r"x.safetensors has average/head.2.bias of shape none; expected \(32,\)"):
        checkpoints.load(out)
    changed(trained, out, tensors=lambda tensors: tensors.update({"network/more": torch.zeros(2)}))
    with pytest.raises(ModelError, match=r"network/more of shape \(2,\); expected none"):
        checkpoints.load(out)
    changed(trained, out, tensors=lambda tensors: tensors.update({"more": torch.zeros(2)}))
    with pytest.raises(ModelError, match="has a tensor more; expected names that begin with one of network"):
        checkpoints.load(out)


def test_history_has_the_mean_loss_of_an_epoch_however_often_it_is_reported(
    survey_file, trained, monkeypatch, tmp_path
):
    monkeypatch.setattr(training, "REPORT_EVERY_STEPS", 5)
    out, reports = tmp_path / "x.safetensors", []

    def interrupt(progress):
        reports.append(progress)
        if progress.validation:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(survey_file, out, config=TINY, epochs=3, seed=5, recipe=RECIPE, progress=interrupt)
    assert len(reports) > 2
    assert checkpoints.load(out).record.history[0] == checkpoints.load(trained).record.history[0]


def test_what_is_no_checkpoint_is_refused(survey_file, tmp_path):
    with pytest.raises(ModelError, match="there is no checkpoint"):
        checkpoints.load(tmp_path / "absent")
    (tmp_path / "text").write_text("some text that is not a tensor file")
    with pytest.raises(ModelError, match="is not a safetensors file"):
        checkpoints.load(tmp_path / "text")
    with pytest.raises(ModelError, match="is of kind None"):
        checkpoints.load(survey_file)


def test_checkpoint_that_cannot_be_written_leaves_the_old_one(trained, monkeypatch, tmp_path):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    out = tmp_path / "x.safetensors"
    out.write_bytes(b"old")
    with pytest.raises(ModelError, match=r"No space left on device.*with resume"):
        checkpoints.save(out, checkpoints.load(trained))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.safetensors", b"old")]
