"""The graph: what people ask for, as a value; how it is written, checked and run on events.

    kind, operation, graph, order    the value, and its order
    nodes, grammar                   definitions as trees, and how they are read
    elementary, expression           arithmetic on blocks
    document, lower, text, builder   the YAML form and the Python form
    check                            a graph against a source's fields
    library/                         what an operation may be
    plan, steps, frame, partial      the worker's part
    windows, results, reduction      the reducers' part

Nothing is imported here: a worker must not pay for YAML and networkx.
"""
