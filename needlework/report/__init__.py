"""What a study found, as figures and one self-contained page."""
