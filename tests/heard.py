"""A reporter that remembers what it is told."""

from dialsum_cli.reporter import Reporter


class Heard(Reporter):
    """Keeps notes, warnings and previews, each in their order."""

    def __init__(self):
        self.notes, self.warnings, self.previews = [], [], []

    def note(self, message):
        self.notes.append(message)

    def warn(self, message):
        self.warnings.append(message)

    def preview(self, result):
        self.previews.append(result)
