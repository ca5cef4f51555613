"""The graph manager: requests in, numbered graph versions out."""
