SELECT version, through, wanted, last FROM stream WHERE stream = ?
