"""Webhooks in, the JSON API, and two pages to read."""
