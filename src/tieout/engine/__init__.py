"""Durability: nothing is lost, nothing is done twice."""
