SELECT value FROM meta WHERE key = 'fold_version'
