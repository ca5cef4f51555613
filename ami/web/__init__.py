"""The page: the experiment live in a browser, and the graph under everybody's hands (docs/page.md)."""
