"""From a request to Gaussians: the pipeline, its results and their files."""
