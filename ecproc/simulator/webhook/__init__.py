"""A receiver of a webhook desk's calls: strict about signatures, keyed or not, with faults and an exact ledger."""
