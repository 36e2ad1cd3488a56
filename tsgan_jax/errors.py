"""Errors of the user or of the user's data, which are shown as a message without a traceback."""


class UserError(Exception):
    """An error of the user; the message names the file or key, the value found, and the fix."""
