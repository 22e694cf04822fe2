"""Encryption at rest, masking, the audit chain."""
