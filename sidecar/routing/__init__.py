"""The decision rule: what each candidate is worth for a request, which are admissible, and which is chosen."""
