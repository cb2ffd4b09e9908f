"""What tests ask of a DICOM file: its pixels, its fixes, the code of its refusal, its frames as decoded."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from csasn.config import DicomSettings
from csasn.decoding.dicom.fragments import located_frames
from csasn.decoding.dicom.frames import read_dicom
from csasn.decoding.dicom.layout import layout_of
from csasn.decoding.dicom.opening import opened
from csasn.decoding.dicom.tone import rgb
from csasn.decoding.dicom.values import decoded
from csasn.decoding.refused import RefusedPicture

WHOLE = DicomSettings(no_region="whole-image")
KEEP = DicomSettings(no_region="whole-image", colour_doppler="keep")
ENCODED = (RLELossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless)
SECRETS = ("MRN1", "Doe", "2.25.")
# Y 100, Cb 90, Cr 240: R = 100 + 1.402 * 112 = 257 -> 255, G = 100 + .344 * 38 - .714 * 112 = 33, B = 100 - 67 = 33.
YCBCR, RED_GREEN_BLUE = (100, 90, 240), (255, 33, 33)
GREY_OF_THAT = 99  # .299 * 255 + .587 * 33 + .114 * 33 = 99.4


def pixels(path: Path, settings: DicomSettings = WHOLE) -> np.ndarray:
    return read_dicom(path, settings).frames[0].pixels


def fixes(path: Path, settings: DicomSettings = WHOLE) -> tuple[str, ...]:
    return read_dicom(path, settings).frames[0].fixes


def code(path: Path, settings: DicomSettings = WHOLE) -> str:
    with pytest.raises(RefusedPicture) as refusal:
        read_dicom(path, settings)
    assert not any(secret in refusal.value.reason for secret in SECRETS)
    return refusal.value.code


def stored(path: Path, number: int = 0) -> np.ndarray:
    """A frame as decoded, before grey and crop: values, or red, green and blue."""
    with warnings.catch_warnings(), opened(path) as file:
        warnings.simplefilter("ignore")  # as read_dicom does
        layout = layout_of(file.dataset, file.syntax)
        frame = decoded(located_frames(file, layout).read(number), layout)
    return frame.values if frame.space == "L" else rgb(frame.values, frame.space)
