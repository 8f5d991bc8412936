"""The public face of Freshet for user code."""
