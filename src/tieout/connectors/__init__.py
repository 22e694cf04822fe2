"""The anti-corruption layer: one folder per outside system, stateless, no SQL. Above it everyone sees `contract.py`."""
