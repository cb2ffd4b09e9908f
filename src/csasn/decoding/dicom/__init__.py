"""DICOM ultrasound: opened within limits, decoded to grey, cropped to the B-mode region, identifiers left behind."""
