"""Builds the tables of a simulation from GalSim's SEDs and profiles, speclite's filter curves, astropy's cosmology."""

from pathlib import Path

import galsim
import numpy as np
import speclite.filters
from astropy.cosmology import FlatLambdaCDM
from numpy.typing import NDArray

from skyfan.photoz.grids import Axis, DistanceGrid, Floats, FourierGrid, Grids, LuminosityGrid, SedGrid
from skyfan.photoz.parameters import BANDS, Parameters

TEMPLATES = ("E", "Sbc", "Scd", "Im")
"""Coleman, Wu & Weedman 1980 (ApJS 43, 393), extended by Bolzonella et al. 2000; they come with GalSim."""
WAVELENGTH_ANGSTROM = np.arange(1900.0, 11200.0, 2.0)
"""Rest frame: u at z = 0.42 begins at 2070, the z filter ends at 11141 at z = 0."""

SED_TYPE = Axis(-0.3, 0.1, 34)
DUST_MAG = Axis(0.0, 0.25, 13)
REDSHIFT = Axis(0.0, 0.0025, 171)


def build(parameters: Parameters) -> Grids:
    """Return the tables for `parameters`; takes about a second."""
    cosmology = FlatLambdaCDM(H0=parameters.hubble_km_s_mpc, Om0=parameters.matter_density)
    return Grids(
        sed=sed_grid(),
        distance=distance_grid(cosmology),
        luminosity=luminosity_grid(parameters, cosmology),
        bulge=fourier_grid(galsim.DeVaucouleurs(half_light_radius=1.0, gsparams=_FINE), k_max=500.0),
        psf=fourier_grid(galsim.Moffat(beta=parameters.psf_moffat_beta, fwhm=1.0, gsparams=_FINE), k_max=40.0),
    )


def attenuation(wavelength_angstrom: Floats) -> Floats:
    """Return A_lambda / A_V of starburst dust, (n,).

    Calzetti et al. 2000 (ApJ 533, 682), equation 4, with R_V = 4.05.
    """
    x = 1e4 / wavelength_angstrom
    blue = 2.659 * (-2.156 + 1.509 * x - 0.198 * x**2 + 0.011 * x**3)
    red = 2.659 * (-1.857 + 1.040 * x)
    return np.asarray(np.maximum(np.where(wavelength_angstrom < 6300.0, blue, red) + 4.05, 0.0) / 4.05)


def template_spectra() -> Floats:
    """Return ln f_lambda of the four templates, (4, wavelengths), each 0 at 5500 A."""
    folder = Path(galsim.meta_data.share_dir) / "SEDs"
    spectra = []
    for name in TEMPLATES:
        wavelength, flux = np.loadtxt(folder / f"CWW_{name}_ext_more.sed", unpack=True)
        spectrum = np.interp(WAVELENGTH_ANGSTROM, wavelength, flux)
        spectra.append(np.log(spectrum / np.interp(5500.0, wavelength, flux)))
    return np.array(spectra)


def spectrum_of(sed_type: float, templates: Floats) -> Floats:
    """Return ln f_lambda of a type between (or just beyond) two templates, linear in ln f, (wavelengths,)."""
    left = min(max(int(np.floor(sed_type)), 0), len(templates) - 2)
    return np.asarray(templates[left] + (sed_type - left) * (templates[left + 1] - templates[left]))


def filter_weights(redshift: Floats) -> Floats:
    """Return w such that w @ f_lambda(rest) is the observed mean f_nu through a filter, (z, 5, wavelengths).

    <f_nu> is proportional to the integral of lambda R f_lambda over that of R / lambda (photon-counting AB,
    Fukugita et al. 1996, AJ 111, 1748), where lambda = (1 + z) lambda_rest, f_lambda = f_lambda(rest) / (1 + z).
    """
    step = WAVELENGTH_ANGSTROM[1] - WAVELENGTH_ANGSTROM[0]
    weights = np.empty((len(redshift), len(BANDS), len(WAVELENGTH_ANGSTROM)))
    for b, band in enumerate(BANDS):
        curve = speclite.filters.load_filter(f"sdss2010-{band}")
        wavelength, response = np.asarray(curve.wavelength, float), np.asarray(curve.response, float)
        norm = np.trapezoid(response / wavelength, wavelength)
        for i, z in enumerate(redshift):
            observed = WAVELENGTH_ANGSTROM * (1.0 + z)
            through = np.interp(observed, wavelength, response, left=0.0, right=0.0)
            weights[i, b] = observed * through * step / norm
    return weights


def sed_grid() -> SedGrid:
    """Return the flux of every SED type, dust column and redshift through every filter."""
    weights = filter_weights(REDSHIFT.values).reshape(-1, len(WAVELENGTH_ANGSTROM))
    templates = template_spectra()
    dimming = 0.4 * np.log(10.0) * np.outer(DUST_MAG.values, attenuation(WAVELENGTH_ANGSTROM))
    log_flux = np.empty((SED_TYPE.size, DUST_MAG.size, len(weights)), np.float32)
    for i, sed_type in enumerate(SED_TYPE.values):
        spectra = np.exp(spectrum_of(sed_type, templates) - dimming)
        log_flux[i] = np.log10(spectra @ weights.T)
    return SedGrid(SED_TYPE, DUST_MAG, REDSHIFT, log_flux.reshape(*log_flux.shape[:2], REDSHIFT.size, len(BANDS)))


def distance_grid(cosmology: FlatLambdaCDM) -> DistanceGrid:
    """Return distance modulus and angular scale from z = 0.005 to 0.41."""
    z = np.linspace(0.005, 0.41, 1000)
    return DistanceGrid(z, cosmology.distmod(z).value, cosmology.kpc_proper_per_arcmin(z).value / 60.0)


def luminosity_grid(parameters: Parameters, cosmology: FlatLambdaCDM) -> LuminosityGrid:
    """Return the expected number of galaxies of each population, z and M_r to a generous magnitude limit.

    The limit is that of the survey plus 0.3 mag for K-corrections below zero; the true cut is made on r itself.
    """
    low, high = parameters.redshift_range
    redshift, magnitude = Axis(low, (high - low) / 400, 400), Axis(-25.0, 0.02, 500)
    z = redshift.values[:, None] + redshift.step / 2
    m = magnitude.values[None, :] + magnitude.step / 2
    volume = cosmology.differential_comoving_volume(z).value
    seen = m + cosmology.distmod(z).value < parameters.r_range_mag[1] + 0.3
    counts = []
    for population in (parameters.red, parameters.blue):
        function = population.luminosity
        luminosity = 10.0 ** (-0.4 * (m - (function.m_star - parameters.brightening_mag_per_z * z)))
        density = function.phi_star_per_mpc3 * luminosity ** (function.alpha + 1.0) * np.exp(-luminosity)
        counts.append(np.where(seen, density * volume, 0.0))
    cumulative = np.cumsum(np.ravel(counts))
    return LuminosityGrid(redshift, magnitude, cumulative / cumulative[-1])


def fourier_grid(profile: galsim.GSObject, k_max: float, size: int = 20_000) -> FourierGrid:
    """Return the Fourier transform of a round GalSim profile at `size` points to `k_max`."""
    k = np.linspace(0.0, np.sqrt(k_max), size) ** 2
    amplitude: NDArray[np.float32] = np.array([profile.kValue(x, 0.0).real for x in k], np.float32)
    return FourierGrid(k_max, amplitude)


_FINE = galsim.GSParams(maxk_threshold=1e-4, kvalue_accuracy=1e-6, folding_threshold=1e-3, maximum_fft_size=16384)
