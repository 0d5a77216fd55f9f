"""What else is in a cutout: as much as the sky has, where it is, and only partly in the magnitudes."""

from dataclasses import replace

import numpy as np
import pytest

from skyfan.photoz.contamination import (
    cosmic_ray,
    draw_artefacts,
    draw_neighbours,
    foreign_light,
    scattered_light,
    streak,
)
from skyfan.photoz.parameters import ZERO_POINT_MAG
from skyfan.photoz.population import draw
from skyfan.photoz.render import Renderer, Scene, observe, sky_noise

COUNT = 3000


@pytest.fixture(scope="module")
def hosts(grids, parameters):
    return draw(np.random.default_rng(1), COUNT, grids, parameters)


@pytest.fixture(scope="module")
def neighbours(hosts, parameters):
    return draw_neighbours(np.random.default_rng(2), hosts, parameters)


def r_of(light):
    return ZERO_POINT_MAG - 2.5 * np.log10((light.bulge_flux + light.disc_flux)[:, 2])


def test_neighbours_are_as_many_as_the_sky_has(neighbours, parameters):
    side_arcmin = (32 * 0.396 + 4) / 60
    density = parameters.neighbour_galaxies_per_arcmin2 + parameters.neighbour_stars_per_arcmin2
    assert len(neighbours.host) / COUNT == pytest.approx(density * side_arcmin**2, rel=0.1)
    assert np.bincount(neighbours.host, minlength=COUNT).max() < 8


def test_neighbours_follow_the_number_counts(neighbours, parameters):
    bright, faint = parameters.neighbour_r_range_mag
    star = neighbours.light.disc_radius_arcsec == 0
    for which, slope in ((star, parameters.neighbour_stars_slope), (~star, parameters.neighbour_galaxies_slope)):
        r = r_of(neighbours.light)[which]
        assert r.min() >= bright - 1e-6
        assert r.max() <= faint + 1e-6
        expected = (10 ** (slope * (19.5 - faint)) - 10 ** (slope * (bright - faint))) / (
            1 - 10 ** (slope * (bright - faint))
        )
        assert np.mean(r < 19.5) == pytest.approx(expected, abs=4 * np.sqrt(expected / len(r)))


def test_few_per_cent_are_blends(neighbours):
    near = np.hypot(*neighbours.light.offset_arcsec.T) < 5.0
    assert 0.01 < np.sum(near & (r_of(neighbours.light) < 20.0)) / COUNT < 0.05


def test_a_dimmed_galaxy_keeps_its_surface_brightness(hosts, parameters):
    crowded = replace(parameters, neighbour_stars_per_arcmin2=1e-9)
    light = draw_neighbours(np.random.default_rng(3), hosts, crowded).light
    for part in ("disc", "bulge"):
        brightness, known = (
            getattr(sources, f"{part}_flux")[:, 2] / getattr(sources, f"{part}_radius_arcsec") ** 2
            for sources in (light, hosts)
        )
        nearest = known[np.abs(known[:, None] - brightness).argmin(axis=0)]
        np.testing.assert_allclose(brightness, nearest, rtol=1e-9)


def test_artefacts_come_at_their_share(parameters):
    shares = parameters.cosmic_ray_share + parameters.streak_share + parameters.scattered_light_share
    found = draw_artefacts(np.random.default_rng(4), 20_000, parameters)
    assert len(found) / 20_000 == pytest.approx(shares, rel=0.15)
    none = replace(parameters, cosmic_ray_share=0.0, streak_share=0.0, scattered_light_share=0.0)
    assert draw_artefacts(np.random.default_rng(4), 20_000, none) == {}


@pytest.mark.parametrize("seed", range(5))
def test_artefacts_touch_the_bands_that_they_say(seed):
    rng = np.random.default_rng(seed)
    for draw_one in (cosmic_ray, streak):
        image = draw_one(rng)
        assert np.count_nonzero(image.any(axis=(1, 2))) == 1
    ramp = scattered_light(rng)
    np.testing.assert_array_equal(ramp[0], ramp[4])
    assert ramp.min() == pytest.approx(0.0)
    assert 1.0 <= ramp.max() <= 5.0


def test_foreign_light_is_that_of_the_row_alone(hosts, neighbours, grids, parameters):
    render = Renderer(grids)
    crowded = int(neighbours.host[0])
    light = foreign_light(render, neighbours, {}, crowded)
    own = np.flatnonzero(neighbours.host == crowded)
    np.testing.assert_allclose(light, sum(render(neighbours.light, row) for row in own), rtol=1e-5, atol=1e-6)
    empty = int(np.setdiff1d(np.arange(COUNT), neighbours.host)[0])
    assert not foreign_light(render, neighbours, {}, empty).any()
    glow = np.ones((5, 32, 32), np.float32)
    np.testing.assert_array_equal(foreign_light(render, neighbours, {empty: glow}, empty), glow)


def test_magnitudes_keep_the_part_that_photometry_leaves(hosts, grids, parameters):
    exact = replace(
        parameters,
        depth_5sigma_mag=(30.0,) * 5,
        magnitude_grey_error_mag=0.0,
        magnitude_model_error_mag=(0.0,) * 5,
    )
    clean = Renderer(grids)(hosts, 0)
    flux = (hosts.bulge_flux + hosts.disc_flux)[0]
    twin = Scene(clean, clean, flux, np.zeros(5))  # another galaxy, exactly behind
    _, magnitude = observe(np.random.default_rng(5), twin, exact)
    brighter = ZERO_POINT_MAG - 2.5 * np.log10(flux * (2.0 - parameters.unblended_share))
    np.testing.assert_allclose(magnitude, brighter, atol=0.01)


def test_stars_look_like_the_psf(hosts, neighbours, grids):
    star = int(np.flatnonzero(neighbours.light.disc_radius_arcsec == 0)[0])
    middle = replace(neighbours.light, offset_arcsec=np.zeros_like(neighbours.light.offset_arcsec))
    image = Renderer(grids)(middle, star)[2]
    assert image.argmax() == 16 * 32 + 16
    assert image.sum() == pytest.approx(neighbours.light.disc_flux[star, 2], rel=0.05)
    np.testing.assert_allclose(image[16, 17:], image[16, 15:0:-1], atol=1e-4 * image.max())


def test_artefacts_are_measured_in_the_noise_of_the_sky(parameters):
    only = replace(parameters, cosmic_ray_share=0.0, streak_share=0.0, scattered_light_share=1.0)
    image = draw_artefacts(np.random.default_rng(6), 1, only)[0]
    peak = image.max(axis=(1, 2)) / sky_noise(parameters)
    np.testing.assert_allclose(peak, peak[0], rtol=1e-5)
