"""The shared language: frozen values that every connector, process and report speaks. Imports nothing of ours."""
