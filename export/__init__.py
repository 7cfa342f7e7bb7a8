"""From outcomes of real LLMs to a router: train, calibrate, export a bundle, and judge it."""
