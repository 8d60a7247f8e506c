"""Load: many streamed requests at once, for a minute in CI and ten nightly."""
