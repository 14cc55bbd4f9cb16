"""Whether saved MACs become saved time, on the machine at hand."""
