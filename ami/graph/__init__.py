"""The graph: what people ask for, as a value; how it is written, checked and run on events.

    kind, operation, graph, order    the value that runs, and its order
    expression/                      read and compute one expression
    language/                        what people write and edit: document, edits, text, builder; lower makes
                                     the graph of it
    library/                         what an operation may be
    check                            a graph against a source's fields
    execution/                       bind, compiler, steps, frame, plan: the worker's part
                                     bucket, windows, results: the reducers'; partial: between them

Nothing is imported here: a worker must not pay for YAML.
"""
