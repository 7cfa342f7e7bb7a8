"""One exported router as a directory: sealed at export, verified and loaded at serving."""
