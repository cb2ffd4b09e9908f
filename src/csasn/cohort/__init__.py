"""Files become a manifest, the manifest a split."""
