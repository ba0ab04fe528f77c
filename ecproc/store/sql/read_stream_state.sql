SELECT version, through, wanted FROM stream WHERE stream = ?
