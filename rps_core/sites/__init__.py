"""The sites that every installation has: `local` and `generic`."""
