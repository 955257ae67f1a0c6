"""Reference tokens: long-lived and opaque, made by people for their scripts; looked up, never read."""
