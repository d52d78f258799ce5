"""Tables of a page, read back."""


def lines(page: str, *words: str) -> list[list[str]]:
    """The cells of all table lines that have these words."""
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith("|") and all(word in line for word in words)
    ]
