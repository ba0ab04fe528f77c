DELETE FROM main.compact WHERE stream IN (SELECT stream FROM rebuilt.compact)
