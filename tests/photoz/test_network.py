"""The network's size, its shapes, and that it repairs nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from photoz.small import TINY
from skyfan.photoz.network import Network, NetworkConfig, Normalise, PhotoZ, bin_centres, count_parameters
from skyfan.photoz.posterior import OUTPUTS
from skyfan.photoz.trainer import learning_rate, pdf_loss, soft_labels, turned


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return PhotoZ(Network(TINY), TINY).eval()


def inputs(rows):
    noise = torch.Generator().manual_seed(1)
    return torch.randn(rows, 5, 32, 32, generator=noise), 17 + torch.randn(rows, 5, generator=noise)


def test_default_has_the_size_of_astromae():
    assert count_parameters(Network(NetworkConfig(profile=False))) == pytest.approx(15_902_889, rel=0.005)
    assert count_parameters(Network(NetworkConfig())) == pytest.approx(15_902_889, rel=0.01)


def test_small_fits_in_three_megabytes():
    assert count_parameters(Network(NetworkConfig.small())) <= 650_000


def test_outputs_are_one_number_a_row_and_a_pdf(model):
    found = model(*inputs(7))
    assert {name: tuple(tensor.shape) for name, tensor in found._asdict().items()} == {
        name: (7, TINY.bins) if name == "pdf" else (7,) for name in OUTPUTS
    }
    assert all(tensor.dtype == torch.float32 for tensor in found)
    assert (found.z_phot > 0).all()
    assert (found.z_phot < TINY.z_max).all()
    assert (found.z_phot_std >= 0).all()
    assert (found.odds > 0).all()
    assert (found.odds <= 1).all()
    assert (found.anomaly_score >= 0).all()
    torch.testing.assert_close(found.pdf.sum(dim=1), torch.ones(7), atol=1e-6, rtol=0)


def test_outputs_are_the_moments_of_the_pdf(model):
    image, magnitude = inputs(4)
    pdf = torch.softmax(model.network(image, magnitude), dim=1).detach().double().numpy()
    centres = bin_centres(TINY).double().numpy()
    found = model(image, magnitude)
    within_bin = (TINY.z_max / TINY.bins) ** 2 / 12
    np.testing.assert_allclose(found.pdf.detach(), pdf, atol=1e-6)
    np.testing.assert_allclose(found.z_phot.detach(), pdf @ centres, atol=1e-6)
    variance = pdf @ centres**2 - (pdf @ centres) ** 2 + within_bin
    np.testing.assert_allclose(found.z_phot_std.detach() ** 2, variance, atol=1e-6)


def test_features_are_the_encoders(model):
    image, magnitude = inputs(3)
    logits, features = model.network.with_features(image, magnitude)
    assert torch.equal(logits, model.network(image, magnitude))
    assert torch.equal(features, model.network.encoder(model.network.normalise(image, magnitude)[0]))


def test_rows_do_not_see_each_other(model):
    image, magnitude = inputs(6)
    together = model(image, magnitude)
    alone = [model(image[i : i + 1], magnitude[i : i + 1]) for i in range(6)]
    for name, values in together._asdict().items():
        single = torch.cat([getattr(row, name) for row in alone])
        torch.testing.assert_close(values, single, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_what_is_not_finite_is_not_repaired(model, bad, which):
    given_ = inputs(3)
    given_[which][1].view(-1)[0] = bad
    for name, values in model(*given_)._asdict().items():
        rows = torch.isfinite(values.reshape(3, -1))
        assert rows.all(dim=1).tolist() == rows.any(dim=1).tolist() == [True, False, True], name


def test_normalise_standardises_magnitudes_and_colours():
    normalise = Normalise(replace(TINY, profile=False))
    normalise.measured_mean.copy_(torch.tensor([18.0, 17, 16, 15, 14, 1, 1, 1, 1]))
    normalise.measured_std.fill_(2.0)
    _, measured = normalise(torch.zeros(1, 5, 32, 32), torch.tensor([[20.0, 17, 16, 15, 14]]))
    assert measured.tolist() == [[1, 0, 0, 0, 0, 1, 0, 0, 0]]


def test_stretch_is_asinh():
    normalise = Normalise(TINY)
    flux = torch.tensor([-3e3, -1.0, -1e-3, 0.0, 1e-3, 0.3, 50.0, 1e6]).expand(1, 5, 1, -1)
    torch.testing.assert_close(normalise.stretch(flux), torch.asinh(flux), atol=2e-7, rtol=1e-6)


def test_eight_orientations_are_all_different():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    assert len({tuple(turned(image, k).flatten().tolist()) for k in range(8)}) == 8


@given(st.floats(0.0, 0.4))
def test_soft_labels_are_a_pdf_with_the_redshift_as_mean(z):
    labels = soft_labels(torch.tensor([z]), TINY)[0]
    centres = bin_centres(TINY)
    assert labels.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (labels > 0).sum() <= 2
    within = min(max(z, centres[0].item()), centres[-1].item())
    assert (labels @ centres).item() == pytest.approx(within, abs=1e-6)


def test_loss_is_cross_entropy_and_ranked_score():
    z = torch.tensor([0.05, 0.21])
    logits = torch.randn(2, TINY.bins, generator=torch.Generator().manual_seed(2))
    pdf = torch.softmax(logits, 1).double().numpy()
    labels = soft_labels(z, TINY).double().numpy()
    entropy = -np.mean(np.sum(labels * np.log(pdf), axis=1))
    ranked = np.mean(np.sum((np.cumsum(pdf, 1) - np.cumsum(labels, 1)) ** 2, axis=1))
    assert pdf_loss(logits, z, TINY, 0.3).item() == pytest.approx(entropy + 0.3 * ranked, rel=1e-5)


def test_learning_rate_rises_then_falls_to_nothing():
    assert learning_rate(1.0, 0.0, 0, 100) == pytest.approx(0.01)
    assert learning_rate(1.0, 0.0, 200, 100) == 1.0
    assert learning_rate(1.0, 0.5, 200, 100) == pytest.approx(0.5)
    assert learning_rate(1.0, 1.0, 200, 100) == pytest.approx(0.0)
