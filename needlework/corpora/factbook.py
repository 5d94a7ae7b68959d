"""The task `factbook_lookup` by its former name."""

from needlework.corpora.corpus import Corpus
from needlework.corpora.factbook_lookup import capacity, factbook_lookup

__all__ = ["Corpus", "capacity", "factbook_lookup"]
