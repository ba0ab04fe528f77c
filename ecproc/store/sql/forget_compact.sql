DELETE FROM compact WHERE position > ?
