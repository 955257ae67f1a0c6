"""The grants of the token endpoint: one file for each `grant_type`."""
