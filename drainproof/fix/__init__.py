"""Writes what findings say can be mended without guessing: as a patch, or into the files."""
