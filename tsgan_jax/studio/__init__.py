"""The local page of bin/studio: masks drawn, walked and painted, their CT beside them, pairs saved as a set."""
