"""Benches that need processes of their own; ``pdfed bench`` runs them."""
