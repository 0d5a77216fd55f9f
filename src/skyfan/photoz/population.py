"""Draws galaxies: where they are, what they are made of, how large they look and how much light each band gets."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from skyfan.photoz.grids import Floats, Grids
from skyfan.photoz.parameters import PIXEL_SCALE_ARCSEC, ZERO_POINT_MAG, Parameters, Population, Trend

EFFECTIVE_WAVELENGTH_ANGSTROM = np.array([3565.0, 4749.0, 6206.0, 7525.0, 8947.0])
"""Of the sdss2010 filters for a flat spectrum."""
_R = 2


@dataclass(frozen=True)
class Galaxies:
    """True properties of n galaxies, as the telescope would see them without noise."""

    ra_deg: Floats
    dec_deg: Floats
    redshift: Floats
    is_red: NDArray[np.bool_]
    bulge_flux: Floats
    """nanomaggies, (n, 5)."""
    disc_flux: Floats
    """nanomaggies, (n, 5)."""
    bulge_radius_arcsec: Floats
    """Half-light radius, circularised."""
    disc_radius_arcsec: Floats
    """Half-light radius, along the major axis."""
    bulge_axis_ratio: Floats
    disc_axis_ratio: Floats
    position_angle_rad: Floats
    offset_arcsec: Floats
    """Of the centre from that of the cutout's centre, (n, 2): x, y."""
    psf_fwhm_arcsec: Floats
    """(n, 5)."""
    extinction_mag: Floats
    """Of the Galaxy's dust, as corrected for, (n, 5): fluxes are what is left after the correction."""

    def __len__(self) -> int:
        return len(self.redshift)

    def select(self, rows: NDArray[np.bool_ | np.integer] | slice) -> "Galaxies":
        """Return the galaxies of `rows`."""
        return Galaxies(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def draw(rng: np.random.Generator, count: int, grids: Grids, parameters: Parameters) -> Galaxies:
    """Return `count` galaxies of a magnitude-limited survey."""
    batches: list[Galaxies] = []
    found = 0
    while found < count:
        trial = _draw_trial(rng, 2 * count + 200, grids, parameters)
        r = ZERO_POINT_MAG - 2.5 * np.log10((trial.bulge_flux + trial.disc_flux)[:, _R])
        bright, faint = parameters.r_range_mag
        batches.append(trial.select((r > bright) & (r < faint)))
        found += len(batches[-1])
    joined = {f.name: np.concatenate([getattr(b, f.name) for b in batches])[:count] for f in fields(Galaxies)}
    return Galaxies(**joined)


@dataclass(frozen=True)
class _Makeup:
    """What a trial's galaxies are made of, (n,) each."""

    is_red: NDArray[np.bool_]
    redshift: Floats
    m: Floats
    """Absolute magnitude in rest-frame r, without the galaxy's own dust."""
    bulge_fraction: Floats
    bulge_size: Floats
    """Sigmas that the bulge is larger than its luminosity tells."""
    disc_size: Floats
    """Sigmas that the disc is larger than its luminosity tells."""

    @property
    def bulge_m(self) -> Floats:
        return np.asarray(self.m - 2.5 * np.log10(np.maximum(self.bulge_fraction, 1e-4)))

    @property
    def disc_m(self) -> Floats:
        return np.asarray(self.m - 2.5 * np.log10(np.maximum(1.0 - self.bulge_fraction, 1e-4)))


def _draw_trial(rng: np.random.Generator, count: int, grids: Grids, parameters: Parameters) -> Galaxies:
    """Return `count` galaxies before the cut on r."""
    makeup = _draw_makeup(rng, count, grids, parameters)
    z, distance = makeup.redshift, grids.distance.modulus(makeup.redshift)
    disc_axis, bulge_axis = _axis_ratios(rng, makeup, parameters)
    bulge_type, disc_type = _sed_types(rng, makeup, parameters)
    bulge_dust, disc_dust = _dust(rng, makeup, disc_axis, parameters)
    ra, dec = _positions(rng, count, parameters)
    reddening = _reddening(rng, ra, dec, parameters)
    shared_error = _photometric_errors(rng, reddening, parameters)
    bulge_error, disc_error = _template_errors(rng, makeup, parameters)
    bulge_radius, disc_radius = (kpc / grids.distance.scale(z) for kpc in _radii(makeup, parameters))
    bulge_light = grids.sed(bulge_type, bulge_dust, z) - _unreddened_r(grids, bulge_type)
    disc_light = grids.sed(disc_type, disc_dust, z) - _unreddened_r(grids, disc_type)
    return Galaxies(
        ra_deg=ra,
        dec_deg=dec,
        redshift=z,
        is_red=makeup.is_red,
        bulge_flux=_fluxes(bulge_light, makeup.bulge_m + distance, bulge_error + shared_error),
        disc_flux=_fluxes(disc_light, makeup.disc_m + distance, disc_error + shared_error),
        bulge_radius_arcsec=np.clip(bulge_radius, 0.1, 25.0),
        disc_radius_arcsec=np.clip(disc_radius, 0.2, 25.0),
        bulge_axis_ratio=bulge_axis,
        disc_axis_ratio=disc_axis,
        position_angle_rad=rng.uniform(0.0, np.pi, count),
        offset_arcsec=PIXEL_SCALE_ARCSEC * rng.uniform(-0.5, 0.5, (count, 2)),
        psf_fwhm_arcsec=_seeing(rng, count, parameters),
        extinction_mag=reddening[:, None] * np.array(parameters.reddening_coefficient),
    )


def _draw_makeup(rng: np.random.Generator, count: int, grids: Grids, parameters: Parameters) -> _Makeup:
    is_red, z, m = grids.luminosity.draw(rng, count)
    disc_size, bulge_size = rng.standard_normal((2, count))
    red, blue = (
        np.clip(_follow(rng, population.bulge_fraction, m), *population.bulge_fraction_range)
        for population in (parameters.red, parameters.blue)
    )
    return _Makeup(is_red, z, m, np.where(is_red, red, blue), bulge_size, disc_size)


def _follow(rng: np.random.Generator, trend: Trend, m: Floats) -> Floats:
    return trend.at_m21 + trend.per_mag * (m + 21.0) + trend.scatter * rng.standard_normal(len(m))


def _sed_types(rng: np.random.Generator, makeup: _Makeup, parameters: Parameters) -> tuple[Floats, Floats]:
    """Return the SED types of bulge and disc: large for their luminosity means young, hence a later type."""
    red, blue = (_population_sed_types(rng, makeup, population) for population in (parameters.red, parameters.blue))
    bulge, disc = np.where(makeup.is_red, red, blue)
    return bulge, disc


def _population_sed_types(rng: np.random.Generator, makeup: _Makeup, population: Population) -> Floats:
    """Return the SED types, (2, n), that bulges and discs have if all belong to one population."""
    bulge = _follow(rng, population.bulge_type, makeup.m) + population.bulge_type_per_size * makeup.bulge_size
    disc = _follow(rng, population.disc_type, makeup.m) + population.disc_type_per_size * makeup.disc_size
    bulginess = makeup.bulge_fraction - population.typical_bulge_fraction
    disc = disc + population.disc_type_per_bulge_fraction * bulginess
    return np.array([np.clip(bulge, -0.25, 1.6), np.clip(disc, -0.1, 3.0)])


def _axis_ratios(rng: np.random.Generator, makeup: _Makeup, parameters: Parameters) -> tuple[Floats, Floats]:
    """Return apparent axis ratios of disc and bulge: discs seen from every side (Hubble 1926), bulges rounder."""
    count = len(makeup.m)
    thickness = np.where(makeup.is_red, parameters.red.disc_thickness, parameters.blue.disc_thickness)
    thickness = thickness + 0.05 * rng.random(count)
    cos_inclination = rng.random(count)
    disc = np.sqrt(cos_inclination**2 * (1.0 - thickness**2) + thickness**2)
    flattening = 0.45 * rng.beta(1.5, 2.0, count) * np.where(makeup.is_red, 1.0, 0.6)
    bulge = np.clip(1.0 - flattening, 0.4, 1.0)
    # Beside a disc the bulge is flattened by the same inclination, less than the disc itself.
    return disc, np.where(makeup.bulge_fraction > 0.9, bulge, np.maximum(bulge, 0.1 + 0.9 * disc))


def _dust(
    rng: np.random.Generator, makeup: _Makeup, disc_axis: Floats, parameters: Parameters
) -> tuple[Floats, Floats]:
    """Return A_V of bulge and disc."""
    red, blue = parameters.red, parameters.blue
    face_on = [p.face_on_dust_mag * 10.0 ** (p.dust_luminosity_slope * (makeup.m + 21.0)) for p in (red, blue)]
    scatter = parameters.dust_scatter_ln * rng.standard_normal(len(makeup.m))
    scatter = scatter + parameters.dust_per_size_ln * makeup.disc_size
    disc = np.where(makeup.is_red, *face_on) * np.exp(scatter)
    disc = np.minimum(disc * (1.0 - parameters.inclination_dust * np.log10(disc_axis)), 2.9)
    return np.where(makeup.is_red, red.bulge_dust_share, blue.bulge_dust_share) * disc, disc


def _template_errors(rng: np.random.Generator, makeup: _Makeup, parameters: Parameters) -> tuple[Floats, Floats]:
    """Return how bulge and disc depart from their templates, magnitudes (n, 5) each: smooth in rest wavelength."""
    disc_scatter = np.where(makeup.is_red, parameters.red.template_error_mag, parameters.blue.template_error_mag)
    bulge_scatter = np.full(len(makeup.m), parameters.red.template_error_mag)
    knots = np.arange(np.log(2200.0), np.log(9900.0), 0.1)
    separation = (knots[:, None] - knots) / parameters.template_error_ln_wavelength
    root = np.linalg.cholesky(np.exp(-0.5 * separation**2) + 1e-6 * np.eye(len(knots)))
    rest = np.log(EFFECTIVE_WAVELENGTH_ANGSTROM / (1.0 + makeup.redshift[:, None]))
    position = (rest - knots[0]) / 0.1
    cell = np.clip(position.astype(np.int64), 0, len(knots) - 2)
    rows = np.arange(len(cell))[:, None]
    errors = []
    for scatter in (bulge_scatter, disc_scatter):
        curve = scatter[:, None] * (rng.standard_normal((len(cell), len(knots))) @ root.T)
        errors.append(curve[rows, cell] + (position - cell) * (curve[rows, cell + 1] - curve[rows, cell]))
    return errors[0], errors[1]


def galactic_latitude(ra_deg: Floats, dec_deg: Floats) -> Floats:
    """Return b in degrees, (n,), of ICRS positions; the pole is that of the Hipparcos catalogue (ESA SP-1200, 1.5)."""
    pole_ra, pole_dec = np.radians(192.85948), np.radians(27.12825)
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    sine = np.sin(dec) * np.sin(pole_dec) + np.cos(dec) * np.cos(pole_dec) * np.cos(ra - pole_ra)
    return np.asarray(np.degrees(np.arcsin(sine)))


def _reddening(rng: np.random.Generator, ra_deg: Floats, dec_deg: Floats, parameters: Parameters) -> Floats:
    """Return the E(B-V) of a dust map, (n,): a flat layer with clouds, seen from within."""
    layer = parameters.reddening_at_pole_mag / np.sin(np.radians(np.abs(galactic_latitude(ra_deg, dec_deg))))
    return np.asarray(
        np.minimum(layer, 1.0) * np.exp(parameters.reddening_scatter_ln * rng.standard_normal(len(layer)))
    )


def _photometric_errors(rng: np.random.Generator, reddening: Floats, parameters: Parameters) -> Floats:
    """Return calibration and extinction errors, magnitudes (n, 5): what pixels and magnitudes share."""
    count = len(reddening)
    calibration = np.array(parameters.calibration_error_mag) * rng.standard_normal((count, 5))
    error = np.hypot(parameters.reddening_error_mag, parameters.reddening_error_share * reddening)
    error = error * rng.standard_normal(count)
    return np.asarray(calibration + error[:, None] * np.array(parameters.reddening_coefficient))


def _unreddened_r(grids: Grids, sed_type: Floats) -> Floats:
    """Return log10 of the rest-frame r flux without dust, (n, 1): what absolute magnitudes are normalised to."""
    nothing = np.zeros_like(sed_type)
    return np.asarray(grids.sed(sed_type, nothing, nothing)[:, _R : _R + 1])


def _fluxes(light: Floats, apparent: Floats, errors: Floats) -> Floats:
    """Return nanomaggies, (n, 5), of log10 `light` (n, 5) relative to an apparent magnitude (n,)."""
    return np.asarray(10.0 ** (light - 0.4 * (apparent - ZERO_POINT_MAG)[:, None] - 0.4 * errors))


def _radii(makeup: _Makeup, parameters: Parameters) -> tuple[Floats, Floats]:
    """Return half-light radii of bulge and disc in kpc.

    Medians of Shen et al. 2003 (MNRAS 343, 978): equation 14 for bulges, 15 for discs, with constants quoted from its
    table 1; scatter close to its equation 16. There they hold for whole galaxies, here for components: a choice.
    """
    m = makeup.disc_m
    log_disc = -0.4 * 0.26 * m + (0.51 - 0.26) * np.log10(1.0 + 10.0 ** (-0.4 * (m + 20.91))) - 1.71
    disc = 10.0**log_disc * np.exp(np.where(m < -20.9, 0.27, 0.36) * makeup.disc_size)
    disc = disc * parameters.disc_semi_major_factor
    # A red bulge shares its galaxy's potential: half of the way from its own luminosity to the whole galaxy's.
    m = np.where(makeup.is_red, 0.5 * (makeup.m + makeup.bulge_m), makeup.bulge_m)
    bulge = 10.0 ** (-0.4 * 0.65 * m - 5.06) * np.exp(0.30 * makeup.bulge_size)
    return np.where(makeup.bulge_fraction < 0.5, np.minimum(bulge, disc), bulge), disc


def _positions(rng: np.random.Generator, count: int, parameters: Parameters) -> tuple[Floats, Floats]:
    """Return ra and dec in degrees, even on the sphere."""
    low, high = np.sin(np.radians(parameters.dec_range_deg))
    return rng.uniform(*parameters.ra_range_deg, count), np.degrees(np.arcsin(rng.uniform(low, high, count)))


def _seeing(rng: np.random.Generator, count: int, parameters: Parameters) -> Floats:
    """Return the PSF's FWHM in arcsec, (n, 5): one night an image, and a little of its own in each band."""
    night = np.exp(parameters.psf_fwhm_scatter_ln * rng.standard_normal((count, 1)))
    band = np.exp(parameters.psf_band_scatter_ln * rng.standard_normal((count, 5)))
    return np.asarray(parameters.psf_fwhm_arcsec * night * np.array(parameters.psf_fwhm_band_factor) * band)
