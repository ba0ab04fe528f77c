INSERT INTO main.{table} SELECT * FROM part.{table}
