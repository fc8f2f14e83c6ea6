"""What commands print: lines, tables, documents, times."""
