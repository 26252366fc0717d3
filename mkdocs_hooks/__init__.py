"""What MkDocs is told beside mkdocs.yml: pages generated from the code, and links that lead out of ``docs/``."""
