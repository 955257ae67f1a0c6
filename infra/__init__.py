"""How Stagedoor is set up and run: the migration, generated code, the local system, and what production needs."""
