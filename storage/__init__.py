"""Where things lie: keys, atomic writes, digests, Parquet through the schema, run records. No Prefect."""
