DELETE FROM snapshot WHERE fold_version <> ?
