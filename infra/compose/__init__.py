"""Docker Compose: what `infra/compose.yaml` needs beside itself."""
