SELECT stream, version, fold_version, data FROM snapshot WHERE stream = ? AND fold_version = ?
