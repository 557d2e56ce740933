"""In and out: models from where they are published, plans to where they are run."""
