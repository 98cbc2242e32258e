"""OpenTelemetry's spans: how they come, what they become, and how they are retrieved (Transaction Search)."""
