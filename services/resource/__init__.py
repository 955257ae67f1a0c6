"""The resource service: Freddie's tours and merchandise, a real API behind tokens.

Owns tours and merchandise. Holds no secret, and uses nothing of the rest but the public SDK.
Facts out: `events.py`. Facts in: denials, through the SDK.
"""
