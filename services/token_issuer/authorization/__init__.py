"""The authorization request: every protocol rule of it, from its parameters to the code."""
