"""drainproof: will a user of this LLM deployment ever see a cut-off answer?"""

__version__ = "0.1.0"
