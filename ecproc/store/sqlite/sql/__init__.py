"""Every statement by name: text, or a function of a live table's name, which never comes from outside."""
