"""The fault harness: real processes, seeded faults, a ledger outside of the system, a checker of every instance."""
