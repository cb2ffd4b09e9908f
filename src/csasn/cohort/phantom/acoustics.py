"""How tissue becomes an echo picture: scatterers, point spread, envelope, attenuation and log compression."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d

Map = NDArray[np.float32]

N_DEPTH_BANDS = 6  # the beam's width changes stepwise with depth
SOUND_SPEED_MM_PER_US = 1.54


def echo_envelope(
    echo_db: Map, axial_sd_px: float, lateral_sd_px: NDArray[np.float64], rng: np.random.Generator
) -> Map:
    """Envelope (H, W) of scatterers of the strength `echo_db` (dB, H x W), filtered by the point spread.

    Convolution model: e = |h * (10^(echo_db / 20) n)| with n complex white Gaussian noise, h a Gaussian of axial_sd_px
    and, depth by depth (H,), lateral_sd_px, of unit energy. Homogeneous tissue of 0 dB so gives a Rayleigh envelope
    with E[e^2] = 2 and mean / SD = 1.91 (Wagner 1983).
    """
    strength = np.exp(echo_db * np.float32(np.log(10) / 20))
    field = rng.standard_normal((2, *echo_db.shape), dtype=np.float32) * strength
    field = gaussian_filter1d(field, axial_sd_px, axis=1, mode="reflect", truncate=3.0)
    field *= np.float32(1 / _energy(axial_sd_px))
    edges = np.linspace(0, echo_db.shape[0], N_DEPTH_BANDS + 1).astype(int)
    for start, end in pairwise(edges):
        width = float(lateral_sd_px[start:end].mean())
        band = gaussian_filter1d(field[:, start:end], width, axis=2, mode="reflect", truncate=3.0)
        field[:, start:end] = band * np.float32(1 / _energy(width))
    return np.asarray(np.hypot(field[0], field[1]), dtype=np.float32)


def loss_db(attenuation: Map, spacing_mm: float, frequency_mhz: float, beam_px: float) -> Map:
    """Loss (H, W) in dB of what lies above each pixel: the attenuation (dB/cm/MHz) summed along the beam.

    The published coefficient of the gland (1.5) is taken for the way there and back together. The beam is `beam_px`
    wide (SD), so that shadows have soft sides.
    """
    above = np.cumsum(attenuation, axis=0, dtype=np.float32) - attenuation
    above *= np.float32(spacing_mm / 10 * frequency_mhz)
    return np.asarray(gaussian_filter1d(above, beam_px, axis=1, mode="nearest", truncate=2.5), dtype=np.float32)


def time_gain_db(loss: Map) -> Map:
    """Gain (H, 1) in dB that evens the picture out: at each depth the median loss over the columns."""
    return np.asarray(np.median(loss[:, ::4], axis=1, keepdims=True), dtype=np.float32)


def compress(envelope: Map, gain_db: Map | float, dynamic_range_db: float, gamma: float) -> NDArray[np.uint8]:
    """Grey levels (H, W): the level in dB, gland-like tissue in the middle of the dynamic range, through a grey map."""
    level = np.log(envelope + np.float32(1e-6)) * np.float32(20 / np.log(10)) + gain_db - np.float32(3)
    unit = np.clip(np.float32(0.5) + level / np.float32(dynamic_range_db), 0, 1)
    return np.asarray(np.rint(255 * unit ** np.float32(gamma)), dtype=np.uint8)


def coarse_noise(shape: tuple[int, int], cell_px: tuple[float, float], rng: np.random.Generator) -> Map:
    """Smooth noise (H, W) of zero mean and about unit variance, with grains of cell_px (rows, columns)."""
    height, width = (max(2, round(side / cell) + 1) for side, cell in zip(shape, cell_px, strict=True))
    small = Image.fromarray(rng.standard_normal((height, width), dtype=np.float32))
    return np.asarray(small.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float32) * np.float32(1.3)


def _energy(sd_px: float) -> float:
    """Root of the summed squares of the sampled Gaussian that scipy uses, so that filtering keeps the power."""
    radius = int(3.0 * sd_px + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sd_px) ** 2)
    return float(np.sqrt(np.sum((kernel / kernel.sum()) ** 2)))
