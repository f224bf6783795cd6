"""What is known of each engine, one file an engine, so that a new release is a change of data.

A line that depends on a version says from which one it holds. *Measured* means seen on real
vLLM 0.32; *source* means read in the engine's source or in the pull request that changed it.
"""
