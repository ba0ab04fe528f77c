"""A client's ServiceNow instance as the desk."""
