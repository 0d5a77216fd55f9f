"""What the simulated survey is made of: every number of it, with its unit and its source."""

from dataclasses import dataclass

BANDS = "ugriz"
"""In the order of every band axis."""
PIXEL_SCALE_ARCSEC = 0.396
"""SDSS imaging camera (Gunn et al. 1998, AJ 116, 3040)."""
CUTOUT_PIXELS = 32
"""Width and height of a cutout: the crop that AstroMAE (arXiv 2409.01825) uses."""
ZERO_POINT_MAG = 22.5
"""AB magnitude of one nanomaggy."""

Bands = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Schechter:
    """A Schechter (1976) luminosity function in the rest-frame r band."""

    m_star: float
    """Characteristic absolute AB magnitude at z = 0, for H0 = 70 km/s/Mpc."""
    alpha: float
    """Slope at the faint end."""
    phi_star_per_mpc3: float
    """Normalisation; only the ratio of the two populations matters here."""


@dataclass(frozen=True)
class Trend:
    """A normal distribution whose mean runs linearly with absolute magnitude."""

    at_m21: float
    """Mean at M_r = -21."""
    per_mag: float
    """Change of the mean per magnitude towards the faint."""
    scatter: float
    """Standard deviation about the mean."""


@dataclass(frozen=True)
class Population:
    """One of the two galaxy populations. SED types count 0 = E, 1 = Sbc, 2 = Scd, 3 = Im, continuously."""

    luminosity: Schechter
    bulge_fraction: Trend
    """Share of the r-band light in the bulge."""
    bulge_fraction_range: tuple[float, float]
    bulge_type: Trend
    """SED type of the bulge."""
    bulge_type_per_size: float
    """Change of the bulge's SED type per sigma that it is larger than its luminosity tells."""
    disc_type: Trend
    """SED type of the disc."""
    disc_type_per_size: float
    """Change of the disc's SED type per sigma that it is larger than its luminosity tells."""
    disc_type_per_bulge_fraction: float
    """Change of the disc's SED type per unit of bulge fraction above `typical_bulge_fraction`."""
    typical_bulge_fraction: float
    face_on_dust_mag: float
    """Median A_V of a disc seen face-on at M_r = -21."""
    dust_luminosity_slope: float
    """d log10(A_V) / d M_r."""
    bulge_dust_share: float
    """A_V of the bulge over A_V of the disc."""
    disc_thickness: float
    """Least intrinsic axis ratio of a disc; 0.05 more is spread evenly above it."""
    template_error_mag: float
    """Scatter of a disc's SED about its template (of a bulge's: that of the red population)."""


# Luminosity functions lie close to the red and blue ones of Baldry et al. 2004 (ApJ 600, 681), adjusted so that
# n(z) and the red share of the magnitude-limited sample come out as in the SDSS main sample. How strongly structure,
# dust and SED go together is a choice of this simulation: see docs/simulation.md.
RED = Population(
    luminosity=Schechter(m_star=-21.25, alpha=-0.5, phi_star_per_mpc3=2.4e-3),
    bulge_fraction=Trend(0.60, -0.07, 0.22),
    bulge_fraction_range=(0.1, 1.0),
    bulge_type=Trend(0.11, 0.05, 0.05),
    bulge_type_per_size=0.07,
    disc_type=Trend(0.30, 0.0, 0.12),
    disc_type_per_size=0.12,
    disc_type_per_bulge_fraction=-0.6,
    typical_bulge_fraction=0.6,
    face_on_dust_mag=0.06,
    dust_luminosity_slope=0.0,
    bulge_dust_share=0.2,
    disc_thickness=0.22,
    template_error_mag=0.02,
)
BLUE = Population(
    luminosity=Schechter(m_star=-21.3, alpha=-1.2, phi_star_per_mpc3=2.9e-3),
    bulge_fraction=Trend(0.14, -0.05, 0.13),
    bulge_fraction_range=(0.0, 0.7),
    bulge_type=Trend(0.12, 0.05, 0.10),
    bulge_type_per_size=0.06,
    disc_type=Trend(1.55, 0.25, 0.20),
    disc_type_per_size=0.28,
    disc_type_per_bulge_fraction=-1.8,
    typical_bulge_fraction=0.2,
    face_on_dust_mag=0.33,
    dust_luminosity_slope=-0.08,
    bulge_dust_share=0.6,
    disc_thickness=0.12,
    template_error_mag=0.03,
)


@dataclass(frozen=True)
class Parameters:
    """Everything that the simulated survey is drawn from."""

    # The sky and its limits
    hubble_km_s_mpc: float = 70.0
    """Flat Lambda-CDM, the usual choice in papers on the SDSS main sample."""
    matter_density: float = 0.3
    redshift_range: tuple[float, float] = (0.01, 0.4)
    """As in Pasquet et al. 2019 (A&A 621, A26), where z < 0.4."""
    r_range_mag: tuple[float, float] = (13.5, 17.8)
    """True r: the SDSS main sample ends at 17.77 (Strauss et al. 2002, AJ 124, 1810)."""
    ra_range_deg: tuple[float, float] = (120.0, 240.0)
    """About the northern SDSS footprint; galaxies lie evenly on the sphere, without clustering."""
    dec_range_deg: tuple[float, float] = (0.0, 60.0)

    # Galaxies
    red: Population = RED
    blue: Population = BLUE
    brightening_mag_per_z: float = 1.0
    """M* brightens by this much per unit of redshift (Blanton et al. 2003, ApJ 592, 819 find 1.6 +- 0.3; passive
    evolution of single colours about 1)."""
    dust_scatter_ln: float = 0.30
    """Scatter of ln A_V at given luminosity."""
    dust_per_size_ln: float = -0.2
    """Change of ln A_V per sigma that a disc is larger than its luminosity tells."""
    inclination_dust: float = 3.5
    """A_V = A_V(face-on) (1 + this * log10(a / b)): the log-linear law of Tully et al. 1998 (AJ 115, 2264)."""
    template_error_ln_wavelength: float = 0.15
    """Correlation length, in ln(rest wavelength), of how an SED departs from its template."""
    disc_semi_major_factor: float = 1.15
    """Mean ratio of a disc's semi-major to its circularised half-light radius."""

    # The atmosphere and the camera, in ugriz order
    psf_fwhm_arcsec: float = 1.12
    """Of the Moffat profile in r, median: its effective width is then 1.43 arcsec, the median of the SDSS DR7 seeing
    page."""
    psf_fwhm_scatter_ln: float = 0.14
    """From one image to another; the quartiles of that page are 1.30 and 1.58."""
    psf_fwhm_band_factor: Bands = (1.10, 1.05, 1.0, 0.96, 0.97)
    """Seeing falls with wavelength (lambda^-0.2), the camera's optics add in z."""
    psf_band_scatter_ln: float = 0.02
    psf_moffat_beta: float = 3.0
    """Wings of the SDSS PSF (Racine 1996, PASP 108, 699)."""
    depth_5sigma_mag: Bands = (22.0, 22.2, 22.2, 21.3, 20.5)
    """Point sources; York et al. 2000 (AJ 120, 1579) and the 95 % completeness of the data releases."""
    depth_seeing_arcsec: float = 1.3
    """Gaussian FWHM at which the depth holds."""
    sky_mag_per_arcsec2: Bands = (22.15, 21.85, 20.86, 20.26, 19.05)
    """Dark sky; r is the median of the SDSS DR7 sky page. Sets a galaxy's photon noise by the sky's."""

    # The Galaxy's dust
    reddening_at_pole_mag: float = 0.018
    """Median E(B-V) towards the Galactic poles; elsewhere it grows as 1 / sin|b|, a flat layer. Near the 0.015 to 0.02
    of Schlegel, Finkbeiner & Davis 1998 (ApJ 500, 525); from memory."""
    reddening_scatter_ln: float = 0.4
    """Of ln E(B-V) about that law: clouds. A choice."""

    # What goes wrong with photometry
    calibration_error_mag: Bands = (0.015, 0.01, 0.01, 0.01, 0.015)
    """About the 1 % (griz) and 2 % (u) of Padmanabhan et al. 2008 (ApJ 674, 1217). In pixels and magnitudes alike."""
    reddening_error_mag: float = 0.006
    """Error of E(B-V) where there is no dust at all. In pixels and magnitudes alike."""
    reddening_error_share: float = 0.16
    """Error of E(B-V) as a share of it (Schlegel, Finkbeiner & Davis 1998, ApJ 500, 525). In pixels and magnitudes."""
    reddening_coefficient: Bands = (4.239, 3.303, 2.285, 1.698, 1.263)
    """A_band / E(B-V) (Schlafly & Finkbeiner 2011, ApJ 737, 103, table 6)."""
    magnitude_grey_error_mag: float = 0.015
    """Of the model magnitude's aperture, common to all bands; in magnitudes only."""
    magnitude_model_error_mag: Bands = (0.02, 0.01, 0.01, 0.01, 0.015)
    """Of the model magnitude's profile, band by band; in magnitudes only."""

    # What else is in a cutout
    neighbour_r_range_mag: tuple[float, float] = (14.0, 21.0)
    neighbour_galaxies_per_arcmin2: float = 1.4
    """Brighter than the faint end. 14,300 galaxies a square degree at r < 22.2 (Beck et al. 2016, MNRAS 460, 1371: 208
    million on 14,555 square degrees) are 1.2 to 1.5 at r < 21, scaled with slopes of 0.42 to 0.35."""
    neighbour_galaxies_slope: float = 0.42
    """d log10 N(< r) / dr, between the Euclidean 0.6 of bright galaxies and the 0.35 of faint ones (Yasuda et al.
    2001, AJ 122, 1104)."""
    neighbour_stars_per_arcmin2: float = 1.0
    """Brighter than the faint end, at high Galactic latitude; about 4,000 a square degree, from memory."""
    neighbour_stars_slope: float = 0.2
    """d log10 N(< r) / dr at high Galactic latitude, from memory."""
    neighbour_margin_arcsec: float = 2.0
    """Neighbours lie up to so far outside a cutout; their wings reach in."""
    unblended_share: float = 0.9
    """Of foreign light that photometry removes before magnitudes are measured. A choice."""
    cosmic_ray_share: float = 0.01
    """Of cutouts with a track of a cosmic ray, in one band. This and the next two are choices; brightnesses are in
    units of the sky's noise, before it is corrected for the Galaxy's dust."""
    streak_share: float = 0.005
    """Of cutouts crossed by a satellite or a bad column, in one band."""
    scattered_light_share: float = 0.005
    """Of cutouts with a gradient of scattered light, in all bands."""
