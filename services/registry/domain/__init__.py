"""What the registry decides: pure, and the only place where its rules stand."""
