"""HTTP: serving, strict parsing of what comes in, careful headers on what goes out."""
