"""Declarations of every table: one module a table, one contract for writer, gate and docs."""
