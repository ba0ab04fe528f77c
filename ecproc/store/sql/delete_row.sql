DELETE FROM {table} WHERE stream = ? AND id = ?
