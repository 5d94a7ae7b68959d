"""Figures, each as SVG, PNG and the numbers that it shows."""
