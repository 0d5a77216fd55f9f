"""Tables and pixels against the libraries that they come from."""

from dataclasses import replace

import astropy.units as u
import galsim
import numpy as np
import pytest
import speclite.filters
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from skyfan.photoz import physics
from skyfan.photoz.grids import Axis, FourierGrid
from skyfan.photoz.parameters import CUTOUT_PIXELS, PIXEL_SCALE_ARCSEC
from skyfan.photoz.population import draw, galactic_latitude
from skyfan.photoz.render import (
    HALF_LIGHT_PER_SCALE,
    Renderer,
    Scene,
    electrons_per_nanomaggy,
    observe,
    sky_noise,
)

R = 2


@pytest.fixture(scope="module")
def galaxies(grids, parameters):
    return draw(np.random.default_rng(4), 60, grids, parameters)


def alone(galaxies, render, row, extinction_mag=0.0):
    """A galaxy with nothing beside it."""
    light = render(galaxies, row)
    flux = (galaxies.bulge_flux + galaxies.disc_flux)[row]
    return Scene(light, np.zeros_like(light), flux, np.full(5, extinction_mag))


def galsim_image(galaxies, row, band, beta):
    """Draw one band of one galaxy with GalSim alone."""
    precise = galsim.GSParams(maximum_fft_size=16384)
    angle = galaxies.position_angle_rad[row] * galsim.radians
    bulge = galsim.DeVaucouleurs(
        half_light_radius=galaxies.bulge_radius_arcsec[row], flux=galaxies.bulge_flux[row, band], gsparams=precise
    ).shear(q=galaxies.bulge_axis_ratio[row], beta=angle)
    q = galaxies.disc_axis_ratio[row]
    disc = galsim.Exponential(
        half_light_radius=galaxies.disc_radius_arcsec[row] * np.sqrt(q),
        flux=galaxies.disc_flux[row, band],
        gsparams=precise,
    ).shear(q=q, beta=angle)
    psf = galsim.Moffat(beta=beta, fwhm=galaxies.psf_fwhm_arcsec[row, band], gsparams=precise)
    # GalSim's middle of an even grid lies between pixels, ours on pixel 16.
    x, y = galaxies.offset_arcsec[row] + PIXEL_SCALE_ARCSEC / 2
    seen = galsim.Convolve(bulge + disc, psf, gsparams=precise).shift(x, y)
    return seen.drawImage(nx=CUTOUT_PIXELS, ny=CUTOUT_PIXELS, scale=PIXEL_SCALE_ARCSEC).array


@pytest.mark.parametrize("row", range(6))
def test_cutouts_are_those_that_galsim_draws(galaxies, grids, parameters, row):
    ours = Renderer(grids)(galaxies, row)
    for band in (0, R, 4):
        theirs = galsim_image(galaxies, row, band, parameters.psf_moffat_beta)
        assert np.abs(ours[band] - theirs).max() < 2e-3 * theirs.max()
        assert np.abs(ours[band] - theirs).max() < 0.2 * sky_noise(parameters)[band]
        assert ours[band].sum() == pytest.approx(theirs.sum(), rel=0.01)


@pytest.mark.parametrize("row", [0, 3])
def test_sharp_images_are_folded_as_a_camera_does(galaxies, grids, parameters, row):
    sharp = replace(galaxies, psf_fwhm_arcsec=np.full_like(galaxies.psf_fwhm_arcsec, 0.75))
    ours, theirs = Renderer(grids)(sharp, row)[R], galsim_image(sharp, row, R, parameters.psf_moffat_beta)
    assert np.abs(ours - theirs).max() < 3e-4 * theirs.max()


def test_half_light_radius_of_an_exponential_disc():
    assert (1 + HALF_LIGHT_PER_SCALE) * np.exp(-HALF_LIGHT_PER_SCALE) == pytest.approx(0.5, abs=1e-12)
    disc = galsim.Exponential(scale_radius=1.0)
    assert disc.half_light_radius == pytest.approx(HALF_LIGHT_PER_SCALE, rel=1e-6)


@pytest.mark.parametrize("template", range(4))
@pytest.mark.parametrize("z", [0.0, 0.1, 0.3])
def test_colours_are_those_of_speclite(grids, template, z):
    observed = physics.WAVELENGTH_ANGSTROM * (1 + z)
    filters = speclite.filters.load_filters("sdss2010-*")
    flux = np.exp(physics.template_spectra()[template]) * 1e-17
    padded, wavelength = filters.pad_spectrum(flux, observed, method="edge")
    table = filters.get_ab_magnitudes(padded * u.erg / (u.cm**2 * u.s * u.Angstrom), wavelength * u.Angstrom)
    theirs = np.array([table[f"sdss2010-{band}"][0] for band in "ugriz"])
    ours = -2.5 * grids.sed(*np.array([[float(template)], [0.0], [z]]))[0]
    np.testing.assert_allclose(np.diff(ours), np.diff(theirs), atol=3e-3)


def test_dust_dims_blue_light_more(grids):
    clear, dusty = grids.sed(np.array([1.0, 1.0]), np.array([0.0, 1.0]), np.array([0.1, 0.1]))
    lost = -2.5 * (dusty - clear)
    assert (np.diff(lost) < 0).all()
    assert lost[1] > 1.0 > lost[R]  # observed g and r lie either side of rest-frame V at z = 0.1
    assert physics.attenuation(np.array([5500.0]))[0] == pytest.approx(1.0, abs=0.01)


def test_distances_are_those_of_a_flat_universe(grids):
    z = np.array([0.1])
    d_l_mpc = 10 ** (grids.distance.modulus(z) / 5 - 5)
    assert d_l_mpc[0] == pytest.approx(460.3, rel=1e-3)  # Hogg 1999, H0 = 70, Omega_m = 0.3
    assert grids.distance.scale(z)[0] == pytest.approx(d_l_mpc[0] * 1e3 / 1.1**2 * np.radians(1 / 3600), rel=1e-4)


def test_noise_of_magnitudes_is_the_noise_of_their_pixels(galaxies, grids, parameters):
    exact = replace(parameters, magnitude_grey_error_mag=0.0, magnitude_model_error_mag=(0.0,) * 5)
    scene = alone(galaxies, Renderer(grids), 0)
    clean, flux = scene.galaxy, scene.flux
    rng = np.random.default_rng(5)
    seen = [observe(rng, scene, exact) for _ in range(400)]
    r = np.array([magnitude[R] for _, magnitude in seen])
    light = np.array([image[R].sum() for image, _ in seen])
    assert np.corrcoef(r, light)[0, 1] < -0.3  # brighter pixels, smaller magnitude
    variance = sky_noise(parameters)[R] ** 2 + clean[R] / electrons_per_nanomaggy(parameters)[R]
    expected = 2.5 / np.log(10) / np.sqrt(np.sum(clean[R] ** 2 / variance))
    assert np.std(r) == pytest.approx(expected, rel=0.12)
    assert np.mean(r) == pytest.approx(22.5 - 2.5 * np.log10(flux[R]), abs=4 * expected / 20)


def test_correcting_for_dust_makes_the_noise_larger(galaxies, grids, parameters):
    render = Renderer(grids)
    clear, dusty = (
        observe(np.random.default_rng(5), alone(galaxies, render, 0, extinction), parameters)[0] - render(galaxies, 0)
        for extinction in (0.0, 0.5)
    )
    ratio = np.std(dusty, axis=(1, 2)) / np.std(clear, axis=(1, 2))
    # Light below the sky's noise: the sky's share grows by the whole correction, the galaxy's own by its root.
    assert (ratio > 10 ** (0.2 * 0.5)).all()
    assert (ratio < 1.001 * 10 ** (0.4 * 0.5)).all()


def test_galactic_latitude_is_that_of_astropy():
    ra, dec = np.random.default_rng(8).uniform([0, -90], [360, 90], (50, 2)).T
    expected = SkyCoord(ra, dec, unit="deg").galactic.b.deg
    np.testing.assert_allclose(galactic_latitude(ra, dec), expected, atol=1e-4)


def test_seeing_is_that_of_sdss(grids, parameters):
    psf = galsim.Moffat(beta=parameters.psf_moffat_beta, fwhm=parameters.psf_fwhm_arcsec)
    image = psf.drawImage(nx=256, ny=256, scale=0.1, method="no_pixel").array
    noise_pixels = image.sum() ** 2 / (image**2).sum()  # 4 pi sigma^2 of the Gaussian with as much noise
    width = np.sqrt(8 * np.log(2)) * np.sqrt(noise_pixels / (4 * np.pi)) * 0.1
    assert width == pytest.approx(1.43, abs=0.03)
    fwhm = draw(np.random.default_rng(9), 2000, grids, parameters).psf_fwhm_arcsec[:, R]
    quartiles = np.percentile(fwhm, [25, 50, 75]) / parameters.psf_fwhm_arcsec * width
    np.testing.assert_allclose(quartiles, [1.30, 1.43, 1.58], atol=0.04)


def test_calibration_errors_are_in_pixels_and_magnitudes_alike(grids, parameters):
    exact = replace(
        parameters,
        calibration_error_mag=(0.5,) * 5,
        magnitude_grey_error_mag=0.0,
        magnitude_model_error_mag=(0.0,) * 5,
        depth_5sigma_mag=(30.0,) * 5,
    )
    galaxies = draw(np.random.default_rng(6), 40, grids, exact)
    flux = galaxies.bulge_flux + galaxies.disc_flux
    rng, render = np.random.default_rng(7), Renderer(grids)
    for row in range(10):
        image, magnitude = observe(rng, alone(galaxies, render, row), exact)
        inside = render(galaxies, row).sum(axis=(1, 2)) / flux[row]
        np.testing.assert_allclose(image.sum(axis=(1, 2)) / inside, 10 ** (-0.4 * (magnitude - 22.5)), rtol=0.01)


def test_bulges_are_redder_than_their_discs(galaxies):
    both = (galaxies.bulge_flux[:, R] > 0.05) & ~galaxies.is_red
    colour = [-2.5 * np.log10(f[both, 1] / f[both, R]) for f in (galaxies.bulge_flux, galaxies.disc_flux)]
    assert np.median(colour[0]) > np.median(colour[1])


@given(st.floats(-5, 5), st.integers(2, 50))
def test_axis_finds_its_own_points(first, size):
    axis = Axis(first, 0.25, size)
    cell, share = axis.locate(axis.values)
    np.testing.assert_allclose(cell + share, np.arange(size), atol=1e-9)
    assert (cell < size - 1).all()
    beyond, edge = axis.locate(np.array([first - 9, first + size]))
    assert (beyond[0], edge[0], beyond[1] + edge[1]) == (0, 0.0, size - 1)


def test_fourier_table_is_galsims(grids, parameters):
    k = np.array([0.0, 0.01, 0.5, 3.0, 20.0], np.float32)
    bulge, psf = galsim.DeVaucouleurs(half_light_radius=1.0), galsim.Moffat(parameters.psf_moffat_beta, fwhm=1.0)
    np.testing.assert_allclose(grids.bulge(k), [bulge.kValue(float(x), 0.0).real for x in k], atol=2e-4)
    np.testing.assert_allclose(grids.psf(k), [psf.kValue(float(x), 0.0).real for x in k], atol=2e-4)
    assert isinstance(grids.psf, FourierGrid)
