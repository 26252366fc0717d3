"""MkDocs hooks for what mkdocs.yml cannot express: generated pages, and links to files outside ``docs/``."""
