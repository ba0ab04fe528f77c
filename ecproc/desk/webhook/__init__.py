"""A desk behind one signed POST: any ITSM that a flow, a script host or an integration platform stands in front of."""
