"""What is measured: each file is a program that prints its own figures."""
