raise RuntimeError("at import \x00 \ud800" + "x" * 100000)
