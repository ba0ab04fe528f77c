"""Attachments: which addresses may be asked, download and upload, and where the content stands."""
