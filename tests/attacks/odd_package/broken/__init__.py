raise RuntimeError("a package that cannot be imported")
