"""What a trained run is worth: image quality, masks, CT against its mask, copies, tables and the report."""
