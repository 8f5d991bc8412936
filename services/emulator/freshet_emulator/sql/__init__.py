"""Snowflake's SQL as far as the emulator speaks it: text to tokens to statements.

Pure: knows no session and runs nothing.
"""
