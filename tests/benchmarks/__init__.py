"""How fast the product is, against the least that the same work costs on the same machine in the same minute."""
