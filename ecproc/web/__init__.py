"""The built-in HTTP server: metrics, health and the read-only JSON API."""
