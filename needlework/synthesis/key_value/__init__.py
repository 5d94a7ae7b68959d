"""Look-ups of integers in dictionaries, the data of *Artificial Needles*: published and longer.

Source: Xiong et al., arXiv 2406.19292 (ICLR 2025), and the generator that they released.
"""
