"""What OpenID's conformance suite is told to test a local system by: applications of its own, and a configuration."""
