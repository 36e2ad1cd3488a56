"""A mistake of the user's, or bad data of theirs: shown as one message, never as a traceback."""


class UserError(Exception):
    """Names the file or key, the value found there, and the fix."""
