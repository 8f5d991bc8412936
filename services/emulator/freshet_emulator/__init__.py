"""A local Snowflake for job services: the connector's own protocol, jobs as local processes, tables in DuckDB.

Never meant for production: it keeps no secrets apart, knows no privileges and runs containers unconfined.
"""
