"""Light profiles: sums over pixels that mean what photometry means by them."""

import dataclasses

import numpy as np
import pytest
import torch

from photoz.small import TINY
from skyfan.photoz.network import Normalise, Profile
from skyfan.photoz.profile import MOMENT_SCALES, MOMENTS, PIXELS, RING_EDGES, RINGS, profile_weights

WEIGHTS = profile_weights(PIXELS).astype(np.float64)
OFFSETS = np.arange(PIXELS) - (PIXELS - 1) / 2
Y, X = np.meshgrid(OFFSETS, OFFSETS, indexing="ij")


def sums(image):
    found = image.ravel() @ WEIGHTS
    return found[:RINGS], found[RINGS:].reshape(len(MOMENT_SCALES), 4)


def gaussian(sigma_x, sigma_y):
    return np.exp(-((X / sigma_x) ** 2 + (Y / sigma_y) ** 2) / 2)


def test_rings_have_the_area_between_their_radii_and_do_not_overlap():
    rings, _ = sums(np.ones((PIXELS, PIXELS)))
    areas = np.pi * np.diff(np.square(RING_EDGES))
    np.testing.assert_allclose(rings, areas, rtol=0.08)  # by 5 x 5 points in a pixel
    shares = WEIGHTS[:, :RINGS].sum(axis=1)
    assert shares.max() == pytest.approx(1.0)
    assert shares[np.hypot(X, Y).ravel() < RING_EDGES[-1] - 1].min() == pytest.approx(1.0)


def test_a_round_galaxy_as_large_as_the_weight_has_the_moments_of_a_product_of_gaussians():
    for scale, found in zip(MOMENT_SCALES, sums(gaussian(*[MOMENT_SCALES[0]] * 2))[1], strict=True):
        variance = 1 / (1 / scale**2 + 1 / MOMENT_SCALES[0] ** 2)  # of the product of the two
        flux = 2 * np.pi * variance
        expected = [flux, 0.0, 0.0, flux * (2 * variance / scale**2 - 2)]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * flux)


def test_ellipticity_turns_with_the_galaxy():
    along_x, along_y = (sums(gaussian(*sigmas))[1] for sigmas in ((4, 2), (2, 4)))
    assert (along_x[:, 1] > 0).all()
    np.testing.assert_allclose(along_x[:, 1], -along_y[:, 1], rtol=1e-9)
    np.testing.assert_allclose(along_x[:, [0, 3]], along_y[:, [0, 3]], rtol=1e-9)
    turned = sums(np.exp(-(((X + Y) / 4) ** 2 + ((X - Y) / 2) ** 2) / 4))[1]  # by 45 degrees
    assert (turned[:, 2] > 0).all()
    np.testing.assert_allclose(turned[:, 1], 0.0, atol=1e-9)


def test_other_sizes_have_the_same_sums_by_their_own_pixels():
    coarse, fine = profile_weights(16).sum(axis=0), profile_weights(PIXELS).sum(axis=0)
    np.testing.assert_allclose(coarse[:RINGS] * 4, fine[:RINGS], rtol=0.1, atol=2.0)
    assert profile_weights(16).shape == (256, RINGS + MOMENTS)


def test_sky_gives_numbers_of_order_one_whatever_its_noise():
    profile = Profile(TINY)
    noise = torch.randn(2000, 5, 32, 32, generator=torch.Generator().manual_seed(1))
    softening = torch.tensor([0.01, 0.1, 1.0, 10.0, 100.0])
    found = profile(noise * softening.view(-1, 1, 1), softening)
    light = torch.cat([found[:, : 5 * RINGS], found[:, -5 * MOMENTS :]], dim=1)
    # asinh of a normal variable of scale 1 has 0.77
    np.testing.assert_allclose(light.std(dim=0).numpy(), 0.77, atol=0.06)


def test_colours_are_those_of_neighbouring_bands():
    image = torch.rand(3, 5, 32, 32) * 10
    found = Profile(TINY)(image, torch.ones(5))
    rings = found[:, : 5 * RINGS].view(3, 5, RINGS)
    colours = found[:, 5 * RINGS : 9 * RINGS].view(3, 4, RINGS)
    torch.testing.assert_close(colours, rings[:, :-1] - rings[:, 1:])


def test_a_network_may_do_without_them():
    plain = dataclasses.replace(TINY, profile=False)
    image, magnitude = torch.ones(1, 5, 32, 32), torch.tensor([[20.0, 18, 17, 16, 15]])
    _, measured = Normalise(plain)(image, magnitude)
    assert measured.shape == (1, plain.measurements) == (1, 9)
    assert Normalise(TINY)(image, magnitude)[1].shape == (1, TINY.measurements)
    assert TINY.measurements == 9 + 9 * RINGS + 5 * MOMENTS
