"""Tryton, a real ERP, as a process of its own: installed, seeded, served, disturbed and judged; never imported."""
