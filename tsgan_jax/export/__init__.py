"""Images, masks and boxes on disk, in forms that other tools read."""
