"""seektune: the whole life of a fine-tuned language model in one package."""

__version__ = "0.1.0"
