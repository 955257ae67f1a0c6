"""The rules of what the token issuer gives, as pure deciders."""
