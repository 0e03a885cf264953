"""The version, for those who write it into files and would go in circles by the package itself."""

__version__ = "0.1.0"
