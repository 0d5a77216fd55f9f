"""Training learns, and goes on after an interruption as if there had been none."""

import json

import pytest
import torch
from safetensors.numpy import save_file

from photoz.small import RECIPE, TINY
from skyfan.errors import InputError, ModelError, SurveyError
from skyfan.photoz import checkpoint as checkpoints
from skyfan.photoz.network import NetworkConfig
from skyfan.photoz.train import train


def tensors(path):
    loaded = checkpoints.load(path)
    return {
        f"{group}.{name}": t for group in ("network", "average", "moments") for name, t in vars(loaded)[group].items()
    }


def test_loss_falls_and_redshifts_come_out(trained):
    record = checkpoints.load(trained).record
    losses = [entry["loss"] for entry in record.history]
    assert len(losses) == 3
    assert losses[-1] < losses[0] - 0.3
    assert record.history[-1]["sigma_nmad"] < 0.05
    assert record.step == 3 * (record.training_rows // 64)


def test_record_is_beside_it_for_people(trained):
    record = json.loads(trained.with_suffix(".json").read_text())
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
    before = trained.read_bytes()
    reports = []
    train(survey_file, trained, resume=True, progress=reports.append)
    assert trained.read_bytes() == before
    assert reports == []


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


def test_resume_refuses_another_network_seed_or_survey(survey_file, survey, trained, tmp_path):
    with pytest.raises(ModelError, match="started with size"):
        train(survey_file, trained, config=NetworkConfig(), resume=True)
    with pytest.raises(ModelError, match="started with seed 5, but 6"):
        train(survey_file, trained, seed=6, resume=True)
    shorter = tmp_path / "shorter.safetensors"
    save_file({name: values[:500] for name, values in survey.items()}, shorter)
    with pytest.raises(SurveyError, match="resume with the survey"):
        train(shorter, trained, resume=True)


def test_unusable_arguments_are_refused(survey_file, survey, tmp_path):
    out = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="epochs is 0"):
        train(survey_file, out, epochs=0)
    with pytest.raises(InputError, match="minutes is -1"):
        train(survey_file, out, minutes=-1)
    with pytest.raises(InputError, match="in a folder that exists"):
        train(survey_file, tmp_path / "absent" / "x.safetensors")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA here"):
            train(survey_file, out, device="cuda")
    save_file({name: values[:1] for name, values in survey.items()}, tmp_path / "one.safetensors")
    with pytest.raises(SurveyError, match="larger survey"):
        train(tmp_path / "one.safetensors", out)


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
