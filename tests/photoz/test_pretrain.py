"""The encoder learns to complete images, alone and without redshifts, and the training starts from it."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.nn.functional import conv2d

from photoz.small import RECIPE, TINY
from skyfan.errors import InputError, ModelError
from skyfan.photoz import checkpoint as checkpoints
from skyfan.photoz import train as training
from skyfan.photoz.checkpoint import Pretraining
from skyfan.photoz.network import Encoder, Network
from skyfan.photoz.pretrain import MaskedAutoencoder, cut, hide, picked
from skyfan.photoz.train import train

GROUPS = ("network", "average", "moments", "decoder")


def tensors(path):
    loaded = checkpoints.load(path)
    return {f"{group}/{name}": tensor for group in GROUPS for name, tensor in vars(loaded)[group].items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stop(progress):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def pretrained(survey_file, tmp_path_factory):
    """Return the checkpoints at the end of two epochs of pretraining and of one of training after them."""
    folder = tmp_path_factory.mktemp("pretrained")
    at_end, out = folder / "pretraining.safetensors", folder / "tiny.safetensors"

    def keep(progress):
        if progress.pretraining and progress.share_done == 1.0:
            at_end.write_bytes(out.read_bytes())

    train(survey_file, out, config=TINY, pretrain=2, epochs=1, seed=5, recipe=RECIPE, progress=keep)
    return at_end, out


@pytest.mark.parametrize(("share", "hidden_patches"), [(0.75, 12), (0.5, 8)])
def test_the_same_share_is_hidden_of_each_image_but_not_the_same_patches(share, hidden_patches):
    torch.manual_seed(0)
    visible, hidden = hide(200, 16, share)
    assert hidden.shape == (200, hidden_patches)
    assert torch.equal(torch.cat([visible, hidden], dim=1).sort(dim=1).values, torch.arange(16).expand(200, -1))
    counts = torch.bincount(hidden.flatten(), minlength=16)
    assert counts.min() > 200 * share - 40
    assert counts.max() < 200 * share + 40


def test_patches_are_cut_in_the_order_that_the_encoder_has_them():
    torch.manual_seed(0)
    encoder, image = Encoder(TINY), torch.randn(3, 5, 32, 32)
    patches = encoder.patches
    by_convolution = conv2d(image, patches.weight, patches.bias, stride=8).flatten(2).transpose(1, 2)
    by_hand = cut(image, 8) @ patches.weight.flatten(1).T + patches.bias
    torch.testing.assert_close(by_hand, by_convolution, rtol=1e-4, atol=1e-5)


def test_the_encoder_sees_all_patches_as_the_network_does():
    torch.manual_seed(0)
    encoder, image = Encoder(TINY), torch.randn(3, 5, 32, 32)
    tokens = {}
    encoder.blocks.register_forward_hook(lambda module, inputs, output: tokens.update(network=output))
    encoder(image)
    whole = MaskedAutoencoder(encoder, TINY, Pretraining(1)).encode(image, torch.arange(16).expand(3, -1))
    torch.testing.assert_close(whole, encoder.norm(tokens["network"]), rtol=1e-4, atol=1e-5)


def test_what_is_hidden_changes_nothing_that_the_encoder_says():
    torch.manual_seed(0)
    autoencoder = MaskedAutoencoder(Encoder(TINY), TINY, Pretraining(1))
    image, other = torch.randn(3, 5, 32, 32), torch.randn(3, 5, 32, 32)
    visible, hidden = hide(3, 16, 0.75)
    patches = cut(other, 8).scatter(1, visible[..., None].expand(-1, -1, 320), picked(cut(image, 8), visible))
    mixed = patches.view(3, 4, 4, 5, 8, 8).permute(0, 3, 1, 4, 2, 5).reshape(3, 5, 32, 32)
    torch.testing.assert_close(autoencoder.encode(image, visible), autoencoder.encode(mixed, visible))
    assert not torch.equal(picked(cut(mixed, 8), hidden), picked(cut(image, 8), hidden))


def test_loss_falls(survey_file, tmp_path):
    out, reports = tmp_path / "x.safetensors", []
    train(survey_file, out, config=TINY, pretrain=6, epochs=0.01, seed=5, recipe=RECIPE, progress=reports.append)
    pretraining = checkpoints.load(out).record.pretraining
    losses = [entry["loss"] for entry in pretraining.history]
    assert len(losses) == 6
    assert losses[-1] < 0.8 * losses[0]
    assert pretraining.step == pretraining.history[-1]["step"]
    assert pretraining.seconds > 0
    assert [report.pretraining for report in reports] == sorted(
        (report.pretraining for report in reports), reverse=True
    )
    assert reports[0].validation is None


def test_only_the_encoder_moves(pretrained):
    at_end = checkpoints.load(pretrained[0])
    torch.manual_seed(5)
    fresh = Network(TINY).state_dict()
    moved = {name for name, tensor in at_end.network.items() if not torch.equal(tensor, fresh[name])}
    encoder = {name for name in fresh if name.startswith("encoder.")}
    assert {name for name in moved if not name.startswith("normalise.")} == encoder
    assert at_end.record.step == 0
    assert at_end.average == {}


def test_training_starts_from_the_encoder(survey_file, pretrained, monkeypatch, tmp_path):
    starts = []
    learn = training.Trainer.learn

    def spy(trainer, share):
        starts.append({name: tensor.clone() for name, tensor in trainer.network.state_dict().items()})
        starts.append({name: tensor.clone() for name, tensor in trainer.average.state_dict().items()})
        return learn(trainer, share)

    monkeypatch.setattr(training.Trainer, "learn", spy)
    out = tmp_path / "x.safetensors"
    out.write_bytes(pretrained[0].read_bytes())
    with pytest.raises(KeyboardInterrupt):
        train(survey_file, out, resume=True, progress=stop)
    end = checkpoints.load(pretrained[0]).network
    assert same(starts[0], end)
    assert same(starts[1], end)


def test_what_was_trained_says_that_it_was_pretrained(pretrained):
    loaded = checkpoints.load(pretrained[1])
    assert loaded.record.pretrain_epochs == 2
    assert len(loaded.record.pretraining.history) == 2
    assert len(loaded.record.history) == 1
    assert loaded.decoder == {}
    assert loaded.record.pretraining.seconds == checkpoints.load(pretrained[0]).record.pretraining.seconds


def test_redshifts_play_no_part(survey_file, survey, pretrained, tmp_path):
    other, out = tmp_path / "other.safetensors", tmp_path / "x.safetensors"
    save_file({**survey, "redshift": np.ascontiguousarray(survey["redshift"][::-1])}, other)

    def stop_at_end(progress):
        if progress.share_done == 1.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(other, out, config=TINY, pretrain=2, epochs=1, seed=5, recipe=RECIPE, progress=stop_at_end)
    assert same(tensors(pretrained[0]), tensors(out))


def test_interrupted_pretraining_goes_on_bit_for_bit(survey_file, pretrained, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(training, "REPORT_EVERY_STEPS", 10)
    out = tmp_path / "tiny.safetensors"
    steps = []

    def interrupt(progress):
        steps.append((progress.pretraining, progress.step))
        raise KeyboardInterrupt

    for _ in range(8):
        with pytest.raises(KeyboardInterrupt):
            train(
                survey_file,
                out,
                config=TINY,
                pretrain=2,
                epochs=1,
                seed=5,
                recipe=RECIPE,
                resume=True,
                progress=interrupt,
            )
    train(survey_file, out, resume=True)
    per_epoch = checkpoints.load(out).record.training_rows // 64
    assert steps[:4] == [(True, 10), (True, 20), (True, per_epoch), (True, 30)]
    assert (False, 10) in steps
    assert same(tensors(pretrained[1]), tensors(out))


def test_resume_refuses_another_pretraining(survey_file, pretrained, trained):
    with pytest.raises(ModelError, match="started with pretrain 2, but 3 is asked"):
        train(survey_file, pretrained[1], pretrain=3, resume=True)
    with pytest.raises(ModelError, match="started with pretrain 0, but 3 is asked"):
        train(survey_file, trained, pretrain=3, resume=True)
    with pytest.raises(InputError, match="pretrain is -1"):
        train(survey_file, pretrained[1], pretrain=-1, resume=True)


def test_a_pretrained_checkpoint_predicts_nothing_yet(pretrained):
    with pytest.raises(ModelError, match="is in its pretraining; expected a checkpoint that has learnt"):
        checkpoints.load(pretrained[0]).averaged_network()


def test_bfloat16_pretrains_too(survey_file, tmp_path):
    out = tmp_path / "x.safetensors"
    recipe = {"precision": "bfloat16", "batch_size": 512}
    train(survey_file, out, config=TINY, pretrain=0.5, epochs=0.1, recipe=recipe)
    record = checkpoints.load(out).record
    assert record.recipe.precision == "bfloat16"
    assert all(tensor.dtype == torch.float32 for tensor in checkpoints.load(out).moments.values())
    assert record.pretraining.history[0]["loss"] > 0
