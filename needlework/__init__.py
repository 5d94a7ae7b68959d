"""needlework: which synthetic data will teach a language model to use a long context, and why.

The rooms, in the order data flows, are described in ``docs/architecture.md``.
"""

__version__ = "0.1.0"
