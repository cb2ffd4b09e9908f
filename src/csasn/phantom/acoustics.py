"""How tissue becomes an echo picture: scatterers, point spread, envelope, attenuation and log compression."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.ndimage import gaussian_filter1d

Map = NDArray[np.float32]

SOUND_SPEED_MM_PER_US = 1.54
SOFT_TISSUE_MOST = 1.7  # dB/cm/MHz; what takes more, calcium, is not evened out


def echo_envelope(
    echo_db: Map,
    axial_sd_px: float,
    lateral_sd_px: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    columns_a_line: int = 1,
) -> Map:
    """Envelope (H, columns_a_line * L) of scatterers of strength `echo_db` (dB, H x L), filtered by the point spread.

    Convolution model: e = |h * (10^(echo_db / 20) n)| with n complex white Gaussian noise, h a Gaussian of axial_sd_px
    and, row by row (H,), lateral_sd_px (both in the px of `echo_db`), of unit energy. Homogeneous tissue of 0 dB so
    gives a Rayleigh envelope with E[e^2] = 2 and mean / SD = 1.91 (Wagner 1983). Columns between the scan lines are
    interpolated before the envelope is taken, by zeros in the spectrum, so that they have the same statistics.
    """
    height, n_lines = echo_db.shape
    axial = _gaussian(axial_sd_px)
    reach = len(axial) // 2
    beside = int(3 * lateral_sd_px.max()) + 1  # what lies beyond the left and right edge still echoes
    n_all = next_fast_len(n_lines + 2 * beside, real=True)
    around = ((reach, reach), (beside, n_all - n_lines - beside))
    strength = np.exp(np.pad(echo_db, around, mode="edge") * np.float32(np.log(10) / 20))
    field = rng.standard_normal((2, *strength.shape), dtype=np.float32)
    field *= strength
    along = axial[0] * field[:, :height]
    for shift, weight in enumerate(axial[1:], start=1):
        along += weight * field[:, shift : shift + height]
    frequency = rfftfreq(n_all).astype(np.float32)
    spread = lateral_sd_px.astype(np.float32)[:, None]
    beam = np.exp(np.float32(-2 * np.pi**2) * (spread * frequency) ** 2)
    # Parseval over the real signal's two sides: all but the first (and, of even length, the last) count twice.
    twice = np.full(len(frequency), 2, dtype=np.float32)
    twice[0] = 1
    if n_all % 2 == 0:
        twice[-1] = 1
    beam *= np.float32(columns_a_line) / np.sqrt((beam**2 * twice).sum(axis=1, keepdims=True) / np.float32(n_all))
    echoes = irfft(rfft(along, axis=2) * beam, n=n_all * columns_a_line, axis=2)
    echoes = echoes[:, :, beside * columns_a_line : (beside + n_lines) * columns_a_line]
    return np.asarray(np.sqrt(echoes[0] ** 2 + echoes[1] ** 2), dtype=np.float32)


def loss_db(attenuation: Map, spacing_mm: float, frequency_mhz: float, beam_px: float) -> Map:
    """Loss (H, L) in dB of what lies above each pixel: the attenuation (dB/cm/MHz) summed along the beam.

    The published coefficient of the gland (1.5) is taken for the way there and back together. The beam is `beam_px`
    wide (SD), so that shadows have soft sides.
    """
    above = np.cumsum(attenuation, axis=0, dtype=np.float32) - attenuation
    above *= np.float32(spacing_mm / 10 * frequency_mhz)
    return np.asarray(gaussian_filter1d(above, beam_px, axis=1, mode="nearest", truncate=2.0), dtype=np.float32)


def time_gain_db(attenuation: Map, spacing_mm: float, frequency_mhz: float) -> Map:
    """Gain (H, 1) in dB that evens the picture out: what soft tissue alone, averaged over the columns, takes away."""
    soft = np.minimum(attenuation[:, ::4], np.float32(SOFT_TISSUE_MOST)).mean(axis=1, keepdims=True)
    return np.asarray(np.cumsum(soft, axis=0) * np.float32(spacing_mm / 10 * frequency_mhz), dtype=np.float32)


def compress(envelope: Map, gain_db: Map | float, dynamic_range_db: float, gamma: float) -> NDArray[np.uint8]:
    """Grey levels (H, W): the level in dB, gland-like tissue in the middle of the dynamic range, through a grey map."""
    level = np.log(envelope + np.float32(1e-6)) * np.float32(20 / np.log(10)) + gain_db - np.float32(3)
    unit = np.clip(np.float32(0.5) + level / np.float32(dynamic_range_db), 0, 1)
    grey_map = np.rint(255 * np.linspace(0, 1, 1024) ** gamma).astype(np.uint8)
    return np.asarray(grey_map[(unit * np.float32(1023)).astype(np.int16)])


def coarse_noise(shape: tuple[int, int], cell_px: tuple[float, float], rng: np.random.Generator) -> Map:
    """Smooth noise (H, W) of zero mean and about unit variance, with grains of cell_px (rows, columns)."""
    height, width = (max(2, round(side / cell) + 1) for side, cell in zip(shape, cell_px, strict=True))
    return enlarged(rng.standard_normal((height, width), dtype=np.float32) * np.float32(1.3), shape)


def enlarged(coarse: Map, shape: tuple[int, int]) -> Map:
    """A coarse map (h, w) in more pixels (H, W), smoothly interpolated."""
    fine = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.array(fine, dtype=np.float32)


def _gaussian(sd_px: float) -> Map:
    """A sampled Gaussian of three deviations each side and unit energy, so that filtering keeps the power."""
    radius = max(1, int(3 * sd_px + 0.5))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sd_px) ** 2)
    return np.asarray(kernel / np.sqrt(np.sum(kernel**2)), dtype=np.float32)
