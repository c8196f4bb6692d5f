"""How a reject quotes the row that it is about: in JSON's terms, whatever the file held (dates and bytes of a parquet, NaN, lists without end)."""

DEEPEST = 20  # levels of lists and objects; no source of ours has more than four


def quotable(value: object, depth: int = 0) -> object:
    """The same value where JSON has it, else its text: keys become texts, bytes are decoded, what is nested too deep is named."""
    if isinstance(value, float) and value - value != 0:
        return str(value)  # nan, inf: Python reads them in JSON, others do not
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, (dict, list, tuple)) and depth == DEEPEST:
        return f"({type(value).__name__}, nested deeper than {DEEPEST} levels)"
    if isinstance(value, dict):
        return {str(key): quotable(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [quotable(inner, depth + 1) for inner in value]
    return str(value)
