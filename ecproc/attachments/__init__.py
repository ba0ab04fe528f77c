"""Attachments from Ensono: which addresses may be asked, the download, and where the content stands."""
