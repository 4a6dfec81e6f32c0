"""Energies, and the image operations before their networks; knows core and nets."""
