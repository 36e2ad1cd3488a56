"""Both stages composed: masks, the gate on them, their CT, and the set on disk."""
