"""A ServiceNow instance as a local HTTP server: tables, attachments, changes and imports, with faults and a ledger."""
