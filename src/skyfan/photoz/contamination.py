"""What else is in a cutout: neighbouring galaxies, stars, cosmic rays, streaks and scattered light."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skyfan.photoz.grids import Floats
from skyfan.photoz.parameters import BANDS, CUTOUT_PIXELS, PIXEL_SCALE_ARCSEC, ZERO_POINT_MAG, Parameters
from skyfan.photoz.population import Galaxies
from skyfan.photoz.render import Pixels, Renderer, sky_noise

# g-r, and at it u-g, r-i and i-z of main-sequence stars: the ridge of Covey et al. 2007 (AJ 134, 2398), rounded, from
# memory. Its g-r are taken as evenly spread, blue halo stars to red disc dwarfs.
STELLAR_G_R = np.array([0.2, 0.4, 0.6, 0.9, 1.2, 1.4, 1.5])
STELLAR_U_G = np.array([0.9, 1.1, 1.4, 2.0, 2.4, 2.6, 2.6])
STELLAR_R_I = np.array([0.05, 0.14, 0.22, 0.35, 0.55, 0.9, 1.5])
STELLAR_I_Z = np.array([0.0, 0.04, 0.1, 0.18, 0.3, 0.5, 0.8])

_R = 2


@dataclass(frozen=True)
class Neighbours:
    """Sources that lie in or near the cutouts of n galaxies."""

    host: NDArray[np.int64]
    """Row of the galaxy in whose cutout each lies."""
    light: Galaxies
    """The sources themselves; stars are discs of no size."""


def draw_neighbours(rng: np.random.Generator, hosts: Galaxies, parameters: Parameters) -> Neighbours:
    """Return chance neighbours of galaxies, at the density of the sky.

    A galaxy beside is another one of the same survey, made fainter as if it stood further away: its surface brightness
    stays, and it keeps the calibration error that it was drawn with. Neighbours that belong to the galaxy, and
    clusters, are not drawn.
    """
    side_arcmin = (CUTOUT_PIXELS * PIXEL_SCALE_ARCSEC + 2.0 * parameters.neighbour_margin_arcsec) / 60.0
    densities = (parameters.neighbour_galaxies_per_arcmin2, parameters.neighbour_stars_per_arcmin2)
    counts = [rng.poisson(density * side_arcmin**2, len(hosts)) for density in densities]
    rows = [np.repeat(np.arange(len(hosts)), count) for count in counts]
    host = np.concatenate(rows)
    model = rng.integers(len(hosts), size=len(host))
    is_star = np.arange(len(host)) >= len(rows[0])
    slope = np.where(is_star, parameters.neighbour_stars_slope, parameters.neighbour_galaxies_slope)
    r = _magnitudes(rng, slope, parameters.neighbour_r_range_mag)
    light = _placed(rng, _dimmed(hosts.select(model), r), hosts.select(host), side_arcmin * 60.0)
    return Neighbours(host, _with_stars(rng, light, is_star, r))


def draw_artefacts(rng: np.random.Generator, count: int, parameters: Parameters) -> dict[int, Pixels]:
    """Return what the camera and satellites add to some of `count` cutouts: row to nanomaggies, (5, 32, 32)."""
    noise = sky_noise(parameters)
    kinds = (
        (parameters.cosmic_ray_share, cosmic_ray),
        (parameters.streak_share, streak),
        (parameters.scattered_light_share, scattered_light),
    )
    found: dict[int, Pixels] = {}
    for share, draw in kinds:
        for row in np.flatnonzero(rng.random(count) < share).tolist():
            pixels = (draw(rng) * noise[:, None, None]).astype(np.float32)
            found[row] = found[row] + pixels if row in found else pixels
    return found


def foreign_light(render: Renderer, neighbours: Neighbours, artefacts: dict[int, Pixels], row: int) -> Pixels:
    """Return all light in the cutout of galaxy `row` that is not its own, nanomaggies a pixel, (5, 32, 32)."""
    light = (
        artefacts[row].copy() if row in artefacts else np.zeros((len(BANDS), CUTOUT_PIXELS, CUTOUT_PIXELS), np.float32)
    )
    for source in np.flatnonzero(neighbours.host == row).tolist():
        light += render(neighbours.light, source)
    return light


def cosmic_ray(rng: np.random.Generator) -> Floats:
    """Return a short, sharp track in one band, in units of the sky's noise, (5, 32, 32): 20 to 200 a pixel."""
    length, angle = rng.uniform(1.0, 10.0), rng.uniform(0.0, np.pi)
    start = rng.uniform(0.0, CUTOUT_PIXELS, 2)
    along = np.arange(0.0, length, 0.5)
    track = (start[:, None] + along * np.array([[np.sin(angle)], [np.cos(angle)]])).astype(np.int64)
    y, x = track[:, (track < CUTOUT_PIXELS).all(axis=0) & (track >= 0).all(axis=0)]
    image = np.zeros((len(BANDS), CUTOUT_PIXELS, CUTOUT_PIXELS))
    image[rng.integers(len(BANDS)), y, x] = np.exp(rng.uniform(np.log(20.0), np.log(200.0)))
    return image


def streak(rng: np.random.Generator) -> Floats:
    """Return a line through the cutout in one band, in units of the sky's noise, (5, 32, 32): peak 3 to 50."""
    angle, offset = rng.uniform(0.0, np.pi), rng.uniform(-0.5, 0.5) * CUTOUT_PIXELS
    y, x = np.mgrid[:CUTOUT_PIXELS, :CUTOUT_PIXELS] - CUTOUT_PIXELS / 2.0
    distance = np.cos(angle) * y - np.sin(angle) * x - offset
    peak, width_pixels = np.exp(rng.uniform(np.log(3.0), np.log(50.0))), rng.uniform(0.5, 2.0)
    image = np.zeros((len(BANDS), CUTOUT_PIXELS, CUTOUT_PIXELS))
    image[rng.integers(len(BANDS))] = peak * np.exp(-0.5 * (distance / width_pixels) ** 2)
    return image


def scattered_light(rng: np.random.Generator) -> Floats:
    """Return a gradient in all bands, in units of the sky's noise, (5, 32, 32): 0 at one side, 1 to 5 at the other."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    y, x = np.mgrid[:CUTOUT_PIXELS, :CUTOUT_PIXELS] / (CUTOUT_PIXELS - 1.0) - 0.5
    ramp = np.cos(angle) * x + np.sin(angle) * y
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    return np.asarray(rng.uniform(1.0, 5.0) * np.broadcast_to(ramp, (5, *ramp.shape)))


def _magnitudes(rng: np.random.Generator, slope: Floats, limits: tuple[float, float]) -> Floats:
    """Return r magnitudes, (n,), of counts N(< r) that rise by 10^(slope r)."""
    bright, faint = limits
    least = 10.0 ** (slope * (bright - faint))
    return np.asarray(faint + np.log10(least + (1.0 - least) * rng.random(len(slope))) / slope)


def _dimmed(galaxies: Galaxies, r: Floats) -> Galaxies:
    """Return galaxies at other r magnitudes and the same surface brightness."""
    flux = galaxies.bulge_flux + galaxies.disc_flux
    ratio = 10.0 ** (-0.4 * (r - ZERO_POINT_MAG)) / flux[:, _R]
    return replace(
        galaxies,
        bulge_flux=galaxies.bulge_flux * ratio[:, None],
        disc_flux=galaxies.disc_flux * ratio[:, None],
        bulge_radius_arcsec=galaxies.bulge_radius_arcsec * np.sqrt(ratio),
        disc_radius_arcsec=galaxies.disc_radius_arcsec * np.sqrt(ratio),
    )


def _placed(rng: np.random.Generator, sources: Galaxies, hosts: Galaxies, side_arcsec: float) -> Galaxies:
    """Return sources somewhere in the cutouts of their hosts, under the same sky."""
    return replace(
        sources,
        offset_arcsec=side_arcsec * rng.uniform(-0.5, 0.5, (len(hosts), 2)),
        psf_fwhm_arcsec=hosts.psf_fwhm_arcsec,
        extinction_mag=hosts.extinction_mag,
    )


def _with_stars(rng: np.random.Generator, sources: Galaxies, is_star: NDArray[np.bool_], r: Floats) -> Galaxies:
    """Return sources of which some are stars instead: points of their colour."""
    g_r = rng.uniform(STELLAR_G_R[0], STELLAR_G_R[-1], len(r))
    u_g, r_i, i_z = (np.interp(g_r, STELLAR_G_R, ridge) for ridge in (STELLAR_U_G, STELLAR_R_I, STELLAR_I_Z))
    magnitude = np.stack([r + g_r + u_g, r + g_r, r, r - r_i, r - r_i - i_z], axis=1)
    star = is_star[:, None]
    return replace(
        sources,
        bulge_flux=np.where(star, 0.0, sources.bulge_flux),
        disc_flux=np.where(star, 10.0 ** (-0.4 * (magnitude - ZERO_POINT_MAG)), sources.disc_flux),
        disc_radius_arcsec=np.where(is_star, 0.0, sources.disc_radius_arcsec),
    )
