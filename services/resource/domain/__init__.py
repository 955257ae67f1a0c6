"""What the resource service decides: pure, and the only place where its rules stand."""
