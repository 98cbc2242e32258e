"""The OpenTelemetry Collector: how it is built, which configuration each of its processes loads, and the check of both."""
