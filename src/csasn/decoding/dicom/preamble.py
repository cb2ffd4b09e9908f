"""What the first bytes of a file say: whether it is DICOM."""

from pathlib import Path

PREAMBLE_BYTES = 128


def is_dicom(path: Path) -> bool:
    """Whether a regular file has the letters DICM after its preamble."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            stream.seek(PREAMBLE_BYTES)
            return stream.read(4) == b"DICM"
    except (OSError, ValueError):
        return False
