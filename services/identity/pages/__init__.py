"""What people see: sign-in, consent, signing out, their password. Rendered on the server, and no script anywhere."""
