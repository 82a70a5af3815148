"""Datasets: checks them, counts tokens, estimates costs. Pure. Read checker.py first."""
