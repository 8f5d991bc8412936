"""The simulator: a whole installation in one thread, on a turned clock, with every fault that a seed can draw.

Purpose: the real passes of scheduler, dispatcher, worker and recorder run on twins of Postgres and Redis; a seed
decides who goes when and what breaks. Guarantees: the same seed is the same history, bit for bit; nothing here touches
a network, a file, a thread or the machine's clock. Never: a rule of the engine; what is expected is calculated apart.
"""
