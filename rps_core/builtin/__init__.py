"""The sites every installation has: `local` and `generic`."""
