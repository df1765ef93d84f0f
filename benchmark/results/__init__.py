"""The result schema and the store on disk: one JSON per cell, its predictions beside it, written atomically."""
