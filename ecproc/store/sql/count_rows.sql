SELECT count(*) FROM {table} WHERE stream = ?
