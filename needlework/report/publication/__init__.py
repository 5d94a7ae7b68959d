"""The main tables as LaTeX and Markdown, in the layout of Zhao, Yin and Durrett (2025)."""
