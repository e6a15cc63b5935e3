"""faiss, which finds nearest neighbours and prototypes; it is optional."""

from typing import Any

from datapruning.errors import MissingPackage, first_line


def import_faiss() -> Any:
    """Import faiss.

    Raises:
        MissingPackage: faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingPackage(
            f"faiss, which finds nearest neighbours, cannot be imported ({first_line(error)}): pip install faiss-cpu"
        ) from None
    return faiss
