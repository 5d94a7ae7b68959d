"""What a study will take, before it starts: hours by stage, and disk, from the sizes of its models.

Contexts are taken to be as long as the length, and answers as long as they may get. Importing it
imports no torch.
"""

from needlework.estimates.estimating import Estimate, estimate
from needlework.estimates.wording import text

__all__ = ["Estimate", "estimate", "text"]
